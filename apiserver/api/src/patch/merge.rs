//! JSON merge patches (RFC 7386): objects merge, null removes, everything else replaces.

use serde_json::Value;

use super::{Error, go};

/// Reads a merge patch.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|_| Error::BadRequest("invalid JSON patch".to_owned()))?;
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Err(Error::BadRequest("Invalid JSON Patch".to_owned())),
        other => Err(Error::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type \
             map[string]interface {{}}",
            go::json_kind(&other)
        ))),
    }
}

/// Applies a merge patch.
pub fn apply(object: &Value, patch: &Value) -> Value {
    let mut object = object.clone();
    json_patch::merge(&mut object, patch);
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_removes_and_lists_are_replaced() {
        let object = json!({"a": {"b": 1, "c": [1]}, "d": 1});
        let patch = json!({"a": {"b": null, "c": [2]}, "e": {"f": null}});
        assert_eq!(apply(&object, &patch), json!({"a": {"c": [2]}, "d": 1, "e": {}}));
        assert!(parse(b"[]").is_err() && parse(b"null").is_err() && parse(b"{}").is_ok());
    }
}
