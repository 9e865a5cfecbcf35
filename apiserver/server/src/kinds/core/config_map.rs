//! ConfigMaps: immutable ones stay as they are; data is limited to 1 MiB.

use api::status::FieldError;
use serde_json::Value;

use crate::fields;
use crate::strategy::{Ctx, Strategy};

/// Most bytes of data.
const MAX_BYTES: usize = 1 << 20;

/// The strategy.
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, _ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let bytes = super::secret::data_bytes(object, "/data", false)
            + super::secret::data_bytes(object, "/binaryData", true);
        if bytes > MAX_BYTES {
            errors.push(FieldError::too_long("[]", MAX_BYTES));
        }
        if let Some(old) = old {
            check_immutable(object, old, &["data", "binaryData"], &mut errors);
        }
        errors
    }
}

/// An object marked immutable keeps its fields and its mark.
pub fn check_immutable(new: &Value, old: &Value, keys: &[&str], errors: &mut Vec<FieldError>) {
    if !fields::flag(old, "/immutable") {
        return;
    }
    let text = "field is immutable when `immutable` is set";
    if !fields::flag(new, "/immutable") {
        errors.push(FieldError::forbidden("immutable", text));
    }
    for key in keys {
        if new.get(key) != old.get(key) {
            errors.push(FieldError::forbidden(key, text));
        }
    }
}
