//! Short ways to read and write fields of a document by JSON pointer.

use serde_json::{Map, Value};

/// The text at a path; empty when there is none.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a path.
pub fn integer(object: &Value, path: &str) -> Option<i64> {
    object.pointer(path).and_then(Value::as_i64)
}

/// The boolean at a path; false when there is none.
pub fn flag(object: &Value, path: &str) -> bool {
    object.pointer(path).and_then(Value::as_bool).unwrap_or_default()
}

/// The items of the list at a path; empty when there is none.
pub fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The list at a path, to change.
pub fn list_mut<'a>(object: &'a mut Value, path: &str) -> &'a mut [Value] {
    object
        .pointer_mut(path)
        .and_then(Value::as_array_mut)
        .map(Vec::as_mut_slice)
        .unwrap_or_default()
}

/// The texts of the list at a path.
pub fn texts<'a>(object: &'a Value, path: &str) -> Vec<&'a str> {
    list(object, path).iter().filter_map(Value::as_str).collect()
}

/// Whether there is anything but null at a path.
pub fn has(object: &Value, path: &str) -> bool {
    object.pointer(path).is_some_and(|value| !value.is_null())
}

/// Sets a field, making the objects on the way.
pub fn set(object: &mut Value, path: &str, value: impl Into<Value>) {
    let mut at = object;
    for key in path.trim_start_matches('/').split('/') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let map = at.as_object_mut().expect("made an object right above");
        at = map.entry(key).or_insert(Value::Null);
    }
    *at = value.into();
}

/// Removes a field and returns it.
pub fn remove(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = path.rsplit_once('/')?;
    object.pointer_mut(parent)?.as_object_mut()?.remove(key)
}

/// Makes a field equal to that of another object, absent where it is absent there.
pub fn copy(object: &mut Value, from: &Value, path: &str) {
    match from.pointer(path) {
        Some(value) => set(object, path, value.clone()),
        None => {
            remove(object, path);
        }
    }
}

/// The current time as objects show it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
