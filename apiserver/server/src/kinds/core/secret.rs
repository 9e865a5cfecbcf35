//! Secrets: `stringData` is written into `data`, the type stays, immutable ones stay as they are.

use api::status::FieldError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::config_map::check_immutable;
use crate::fields;
use crate::strategy::{Ctx, Strategy};

/// Most bytes of data.
const MAX_BYTES: usize = 1 << 20;

/// The strategy.
pub struct Secret;

impl Strategy for Secret {
    fn prepare_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        fold(object);
    }

    fn prepare_update(&self, _ctx: &Ctx<'_>, object: &mut Value, old: &Value) {
        fold(object);
        if fields::text(object, "/type").is_empty() {
            fields::copy(object, old, "/type");
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if data_bytes(object, "/data", true) > MAX_BYTES {
            errors.push(FieldError::too_long("data", MAX_BYTES));
        }
        if let Some(old) = old {
            if fields::text(object, "/type") != fields::text(old, "/type") {
                let wrong = Value::from(fields::text(object, "/type"));
                errors.push(FieldError::invalid("type", wrong, "field is immutable"));
            }
            check_immutable(object, old, &["data"], &mut errors);
        }
        errors
    }
}

/// Writes `stringData` into `data`.
pub fn fold(object: &mut Value) {
    let Some(Value::Object(strings)) = fields::remove(object, "/stringData") else { return };
    for (key, value) in strings {
        let text = value.as_str().unwrap_or_default();
        if !object.get("data").is_some_and(Value::is_object) {
            fields::set(object, "/data", Value::Object(serde_json::Map::new()));
        }
        if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
            data.insert(key, STANDARD.encode(text).into());
        }
    }
}

/// Bytes of all values of a map; encoded ones count as what they encode.
pub fn data_bytes(object: &Value, path: &str, encoded: bool) -> usize {
    let map = object.pointer(path).and_then(Value::as_object);
    let lengths = map.into_iter().flatten().map(|(_, value)| value.as_str().map_or(0, str::len));
    let total: usize = lengths.sum();
    if encoded { total / 4 * 3 } else { total }
}
