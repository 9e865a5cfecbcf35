//! The smallest strategic merge patch from one status to another: nothing that others may have
//! changed is sent.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// Lists that the server merges by a key.
const KEYED: &[(&str, &str)] = &[("conditions", "type"), ("podIPs", "ip"), ("hostIPs", "ip")];

/// The patch of `status`, `None` when nothing changed.
pub(crate) fn diff(from: &PodStatus, to: &PodStatus) -> Option<Value> {
    let (from, to) = (fields(from), fields(to));
    let mut patch = Map::new();
    for (name, value) in &to {
        let old = from.get(name);
        if old == Some(value) {
            continue;
        }
        let key = KEYED.iter().find(|(list, _)| list == name).map(|(_, key)| *key);
        let value = match key {
            Some(key) => keyed(old, value, key),
            None => value.clone(),
        };
        patch.insert(name.clone(), value);
    }
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    (!patch.is_empty()).then(|| patch.into())
}

/// A status as its fields.
fn fields(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The changed items of a list that is merged by `key`; items gone are deleted by name.
fn keyed(old: Option<&Value>, new: &Value, key: &str) -> Value {
    let items = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let (old, new) = (items(old), items(Some(new)));
    let find =
        |list: &[Value], item: &Value| list.iter().find(|other| other[key] == item[key]).cloned();
    let mut made: Vec<Value> = Vec::new();
    for item in &new {
        let before = find(&old, item);
        if before.as_ref() == Some(item) {
            continue;
        }
        let mut item = item.clone();
        // A field that went away must be named, or the merge keeps it.
        if let (Some(Value::Object(before)), Value::Object(item)) = (&before, &mut item) {
            for name in before.keys() {
                item.entry(name.clone()).or_insert(Value::Null);
            }
        }
        made.push(item);
    }
    for item in &old {
        if find(&new, item).is_none() {
            made.push(json!({"$patch": "delete", key: item[key]}));
        }
    }
    made.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_changed_is_sent() {
        let from = status(json!({
            "phase": "Pending", "reason": "x", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                {"type": "Foreign", "status": "True"},
            ],
        }));
        let to = status(json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.2"}],
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "Foreign", "status": "True"},
            ],
        }));
        let wanted = json!({
            "phase": "Running", "reason": null,
            "podIPs": [{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null}],
        });
        assert_eq!(diff(&from, &to), Some(wanted));
        assert_eq!(diff(&to, &to), None);
    }
}
