//! Fields whose feature is off: they are taken, and owned by who set them, but never kept.

use serde_json::Value;

use crate::kind::Kind;

/// A kind, and a field of it; `*` is every item. An object that held nothing else goes with the field.
struct Row(&'static str, &'static str, &'static str);

/// Fields that are dropped. Order has no meaning.
const DISABLED: &[Row] = &[
    Row("", "pods", "/spec/containers/*/lifecycle/stopSignal"),
    Row("", "pods", "/spec/initContainers/*/lifecycle/stopSignal"),
    Row("", "pods", "/spec/ephemeralContainers/*/lifecycle/stopSignal"),
    Row("apps", "daemonsets", "/spec/template/spec/containers/*/lifecycle/stopSignal"),
    Row("apps", "deployments", "/spec/template/spec/containers/*/lifecycle/stopSignal"),
    Row("apps", "replicasets", "/spec/template/spec/containers/*/lifecycle/stopSignal"),
    Row("apps", "statefulsets", "/spec/template/spec/containers/*/lifecycle/stopSignal"),
    Row("batch", "jobs", "/spec/template/spec/containers/*/lifecycle/stopSignal"),
    Row("coordination.k8s.io", "leases", "/spec/preferredHolder"),
    Row("coordination.k8s.io", "leases", "/spec/strategy"),
    Row("resource.k8s.io", "resourceslices", "/spec/devices/*/nodeAllocatableResources"),
    Row("resource.k8s.io", "resourceslices", "/spec/partitionTypeAttribute"),
    Row("resource.k8s.io", "resourceslices", "/spec/skipNodeOperations"),
    Row("storage.k8s.io", "csinodes", "/status/storageHealth"),
];

/// Drops what is disabled.
pub fn drop_disabled(kind: &Kind, object: &mut Value) {
    for Row(_, _, path) in DISABLED.iter().filter(|row| kind.is(row.0, row.1)) {
        remove(object, &path[1..]);
    }
}

fn remove(value: &mut Value, path: &str) {
    let Some((key, rest)) = path.split_once('/') else {
        value.as_object_mut().map(|map| map.remove(path));
        return;
    };
    if key == "*" {
        for item in value.as_array_mut().into_iter().flatten() {
            remove(item, rest);
        }
        return;
    }
    let Some(child) = value.get_mut(key) else { return };
    let before = child.as_object().is_some_and(|map| !map.is_empty());
    remove(child, rest);
    let empty = child.as_object().is_some_and(serde_json::Map::is_empty);
    if before && empty && !matches!(key, "spec" | "status") {
        value.as_object_mut().map(|map| map.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_disabled_field_goes_and_so_does_what_held_nothing_else() {
        let path = "spec/containers/*/lifecycle/stopSignal";
        let hook = json!({"exec": {}});
        let mut pod = json!({"spec": {"containers": [{"lifecycle": {"stopSignal": "SIGINT"}},
            {"lifecycle": {"stopSignal": "SIGINT", "preStop": hook}}, {}]}});
        remove(&mut pod, path);
        assert_eq!(
            pod,
            json!({"spec": {"containers": [{}, {"lifecycle": {"preStop": hook}}, {}]}})
        );
    }
}
