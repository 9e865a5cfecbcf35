//! ConfigMaps: keys are names of files, and no key is in both maps.

use serde_json::Value;

use super::super::check::{Errors, Path, entries, get, has};
use crate::meta;

/// A new ConfigMap. Sizes and immutability are the server's strategy.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let data = Path::new("data");
    for (key, _) in entries(object, "data") {
        let at = data.key(key);
        errors.complaints(&at, key, meta::config_map_key(key));
        if has(get(object, "binaryData"), key) {
            errors.invalid(&at, key.as_str(), "duplicate of key present in binaryData");
        }
    }
    let binary = Path::new("binaryData");
    for (key, _) in entries(object, "binaryData") {
        errors.complaints(&binary.key(key), key, meta::config_map_key(key));
    }
}

/// A changed ConfigMap.
pub(in crate::validation) fn update(new: &Value, _old: &Value, errors: &mut Errors) {
    create(new, errors);
}
