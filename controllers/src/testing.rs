//! Objects for unit tests, written as the JSON that matters.

use k8s_openapi::api::core::v1::{Node, Pod};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An object from JSON.
pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("a valid object")
}

/// Lays one JSON tree over another.
pub(crate) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// A Pod in namespace `ns` whose uid is `uid-<name>`.
pub(crate) fn pod(name: &str, over: Value) -> Pod {
    let mut value = json!({"metadata": {"name": name, "namespace": "ns",
        "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": []}});
    merge(&mut value, over);
    object(value)
}

/// A Node.
pub(crate) fn node(name: &str, over: Value) -> Node {
    let mut value = json!({"metadata": {"name": name, "uid": format!("uid-{name}")}});
    merge(&mut value, over);
    object(value)
}
