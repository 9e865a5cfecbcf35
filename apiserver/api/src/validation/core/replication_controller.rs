//! ReplicationControllers.

use serde_json::Value;

use super::{
    super::check::{Errors, Path, get, int},
    pod,
};

/// A new ReplicationController.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    errors.late(|errors| {
        for key in ["replicas", "minReadySeconds"] {
            errors.not_negative(&path.child(key), int(spec, key));
        }
    });
    let selector = get(spec, "selector").as_object();
    if selector.is_none_or(serde_json::Map::is_empty) {
        errors.required(&path.child("selector"), "");
    }
    let template = get(spec, "template");
    let under = path.child("template");
    if template.is_null() {
        errors.required(&under, "");
        return;
    }
    let labels = template.pointer("/metadata/labels");
    let selected = |(key, value): (&String, &Value)| labels.and_then(|l| l.get(key)) == Some(value);
    if selector.is_some_and(|map| !map.is_empty() && !map.iter().all(selected)) {
        let metadata = under.child("metadata");
        let why = "`selector` does not match template `labels`";
        errors.invalid(&metadata.child("labels"), labels.cloned().unwrap_or_default(), why);
    }
    pod::template(template, &under, errors);
    super::super::apps::long_running(template, &under, "ReplicationController", errors);
}

/// A changed ReplicationController.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        create(new, errors);
    }
    super::super::apps::replicas_status(new, old, errors);
}
