//! PersistentVolumeClaims: they begin Pending; the two ways to name a data source are kept equal.

use serde_json::{Value, json};

use crate::fields;
use crate::strategy::{Ctx, Strategy};

/// The strategy.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        fields::set(object, "/status", json!({"phase": "Pending"}));
        data_sources(object);
    }

    fn prepare_update(&self, _ctx: &Ctx<'_>, object: &mut Value, _old: &Value) {
        data_sources(object);
    }
}

/// Copies `dataSource` and `dataSourceRef` to each other; a source of an unusable kind is dropped.
fn data_sources(object: &mut Value) {
    let (source, reference) = ("/spec/dataSource", "/spec/dataSourceRef");
    // Other namespaces are behind a gate that is shut: such a reference means nothing.
    if fields::has(object, "/spec/dataSourceRef/namespace") {
        fields::remove(object, reference);
    }
    if object.pointer(source).is_some_and(|source| !usable(source)) {
        fields::remove(object, source);
    }
    let from = match (fields::has(object, source), fields::has(object, reference)) {
        (true, false) => (reference, source),
        (false, true) => (source, reference),
        _ => return,
    };
    let copy = object.pointer(from.1).cloned().unwrap_or_default();
    fields::set(object, from.0, copy);
}

/// What a volume can be made from without a populator.
fn usable(source: &Value) -> bool {
    matches!(
        (fields::text(source, "/apiGroup"), fields::text(source, "/kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_references_are_kept_equal() {
        let settled = |spec: Value| {
            let mut object = json!({"spec": spec});
            data_sources(&mut object);
            object["spec"].take()
        };
        let other = json!({"apiGroup": "example.com", "kind": "Populator", "name": "p"});
        let both = json!({"dataSource": other, "dataSourceRef": other});
        assert_eq!(settled(json!({"dataSourceRef": other})), both);
        assert_eq!(settled(json!({"dataSource": other})), json!({}));
        let foreign = json!({"kind": "PersistentVolumeClaim", "name": "p", "namespace": "x"});
        assert_eq!(settled(json!({"dataSourceRef": foreign})), json!({}));
    }
}
