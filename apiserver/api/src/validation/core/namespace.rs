//! Namespaces.

use serde_json::Value;

use super::super::{
    check::{Errors, Path, at, get, has, text, texts},
    metadata::standard_finalizer,
};
use crate::meta;

/// A new Namespace.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    let path = spec.child("finalizers");
    for name in texts(get(object, "spec"), "finalizers") {
        errors.complaints(&path, name, meta::qualified_name(name));
        standard_finalizer(name, &path, errors);
    }
}

/// A changed Namespace: its phase follows its deletion. Its finalizers are the server's strategy.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    let phase = text(get(new, "status"), "phase");
    let leaving = has(get(new, "metadata"), "deletionTimestamp");
    if at(new, "/status/phase") != at(old, "/status/phase") {
        let at = path.child("Phase");
        if leaving && phase != "Terminating" {
            let why = "may only be 'Terminating' if `deletionTimestamp` is not empty";
            errors.invalid(&at, phase, why);
        } else if !leaving && phase != "Active" {
            let why = "may only be 'Active' if `deletionTimestamp` is empty";
            errors.invalid(&at, phase, why);
        }
    }
}
