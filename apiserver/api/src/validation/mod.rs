//! What can't be, per kind: complete objects in, complaints out.

use serde_json::Value;

use crate::{facts::Gvk, status::FieldError};

/// All that is wrong with a new object.
pub fn object_create(gvk: Gvk<'_>, namespaced: bool, object: &Value) -> Vec<FieldError> {
    let _ = (gvk, namespaced, object);
    Vec::new()
}

/// All that is wrong with a changed object.
pub fn object_update(gvk: Gvk<'_>, new: &Value, old: &Value) -> Vec<FieldError> {
    let _ = (gvk, new, old);
    Vec::new()
}
