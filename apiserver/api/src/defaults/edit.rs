//! Short ways to fill what is missing.

use serde_json::{Map, Value};

/// Whether a value counts as not given: null, zero, empty text.
pub(super) fn is_zero(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(_) => false,
    }
}

/// Sets a field that is missing or null: what Go holds as a pointer.
pub(super) fn put(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(map) = object
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a field that is missing or zero: what Go holds as a plain value.
pub(super) fn put_zero(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(map) = object
        && is_zero(map.get(key))
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// The text of a field; empty when it is missing.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The field, made an object if it is missing.
pub(super) fn made<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let map = object.as_object_mut()?;
    let at = map.entry(key).or_insert(Value::Null);
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    Some(at)
}

/// The field, if it is an object.
pub(super) fn child<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut(key).filter(|value| value.is_object())
}

/// The items of a list field.
pub(super) fn items<'a>(object: &'a mut Value, key: &str) -> &'a mut [Value] {
    let list = object.get_mut(key).and_then(Value::as_array_mut);
    list.map(Vec::as_mut_slice).unwrap_or_default()
}

/// Whether a list or map field is missing or empty.
pub(super) fn is_empty(object: &Value, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        _ => true,
    }
}
