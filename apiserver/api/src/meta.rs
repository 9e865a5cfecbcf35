//! Names, labels, annotations and times: the rules that hold for the metadata of every kind.
//!
//! Each check gives the list of complaints in the original's words, empty when all is well; the
//! callers put them under the path of the field.

mod names;
mod time;

pub use self::{
    names::{
        config_map_key, dns1035_label, dns1123_label, dns1123_subdomain, env_var_name, label_key,
        label_value, path_segment, port_name, prefixed, qualified_name,
    },
    time::{now_micro, now_rfc3339},
};

use serde_json::Value;

/// Most bytes of all annotations together, keys and values.
pub const ANNOTATION_BYTES: usize = 256 << 10;

/// The text at a JSON pointer; empty when there is none.
pub fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The object's name.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The object's namespace; empty for what has none.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// The object's uid.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// The object's revision.
pub fn resource_version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

/// The value of a label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// The value of an annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// The object's owners.
pub fn owners(object: &Value) -> &[Value] {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.map(Vec::as_slice).unwrap_or_default()
}

/// The owner that controls the object.
pub fn controller(object: &Value) -> Option<&Value> {
    owners(object).iter().find(|owner| owner["controller"] == Value::Bool(true))
}

/// Whether the object is on its way out.
pub fn is_deleting(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// Bytes of all annotations together.
pub fn annotation_bytes(object: &Value) -> usize {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let annotations = annotations.into_iter().flatten();
    annotations.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}
