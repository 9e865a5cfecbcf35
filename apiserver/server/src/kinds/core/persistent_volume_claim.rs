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
    let usable = |source: &Value| {
        let group = fields::text(source, "/apiGroup");
        matches!(
            (group, fields::text(source, "/kind")),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    if object.pointer("/spec/dataSource").is_some_and(|source| !usable(source)) {
        fields::remove(object, "/spec/dataSource");
    }
    let (source, reference) = (
        object.pointer("/spec/dataSource").cloned(),
        object.pointer("/spec/dataSourceRef").cloned(),
    );
    match (source, reference) {
        (Some(source), None) => fields::set(object, "/spec/dataSourceRef", source),
        (None, Some(reference)) if usable(&reference) && !fields::has(&reference, "/namespace") => {
            fields::set(object, "/spec/dataSource", reference);
        }
        _ => {}
    }
}
