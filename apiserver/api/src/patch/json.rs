//! JSON patches (RFC 6902), with the leniencies of the library that upstream uses.
//!
//! A `test` of a missing field against null holds, a `copy` of one copies null, a negative index is
//! refused. Everything that fails is one unspecific error (422).

use json_patch::{Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::Value;

use super::{Error, go};

/// Most operations of one patch.
const MOST_OPERATIONS: usize = 10_000;

/// What an operation may hold.
const KNOWN: [&str; 4] = ["op", "path", "from", "value"];

/// A decoded patch.
#[derive(Clone, Debug)]
pub struct JsonPatch(Vec<Value>);

impl JsonPatch {
    /// Reads a patch; operations are looked at when they are applied.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|_| Error::BadRequest("invalid JSON patch".to_owned()))?;
        let refuse = |value: &Value, what: &str| {
            Error::BadRequest(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type {what}",
                go::json_kind(value)
            ))
        };
        let items = match value {
            Value::Array(items) => items,
            Value::Null => Vec::new(),
            other => return Err(refuse(&other, "[]handlers.jsonPatchOp")),
        };
        if let Some(bad) = items.iter().find(|item| !item.is_object() && !item.is_null()) {
            return Err(refuse(bad, "handlers.jsonPatchOp"));
        }
        if items.len() > MOST_OPERATIONS {
            return Err(Error::TooLarge(format!(
                "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
                items.len()
            )));
        }
        Ok(Self(items))
    }

    /// Fields that no operation knows, as strict decoding names them.
    pub fn unknown(&self) -> Vec<String> {
        let operations = self.0.iter().enumerate();
        let fields = operations.flat_map(|(at, operation)| {
            let keys = operation.as_object().into_iter().flat_map(|map| map.keys());
            keys.filter(|key| !KNOWN.contains(&key.as_str()))
                .map(move |key| format!("json patch unknown field \"[{at}].{key}\""))
        });
        fields.collect()
    }

    /// The paths that operations change.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        let changing = self.0.iter().filter(|operation| {
            operation.get("op").and_then(Value::as_str).is_some_and(|op| op != "test")
        });
        let texts = changing.flat_map(|operation| [operation.get("path"), operation.get("from")]);
        texts.flatten().filter_map(Value::as_str)
    }

    /// Applies all operations, or none.
    pub fn apply(&self, object: &Value) -> Result<Value, Error> {
        let mut object = object.clone();
        for operation in &self.0 {
            self.step(&mut object, operation)?;
        }
        Ok(object)
    }

    fn step(&self, object: &mut Value, operation: &Value) -> Result<(), Error> {
        let operation = &escaped(operation);
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let path = text("path").ok_or(Error::Unprocessable)?;
        let null = Value::Null;
        let value = operation.get("value").unwrap_or(&null);
        match text("op") {
            Some("test") => {
                let found = lookup(object, path)?;
                if super::typed::equal(found.unwrap_or(&null), value) && same_kind(found, value) {
                    return Ok(());
                }
                return Err(Error::Unprocessable);
            }
            Some("copy") => {
                let from = text("from").ok_or(Error::Unprocessable)?;
                let value = lookup(object, from)?.unwrap_or(&null).clone();
                return run(
                    object,
                    &serde_json::json!({"op": "add", "path": path, "value": value}),
                );
            }
            Some(op @ ("add" | "replace")) => {
                let mut operation = operation.clone();
                if let Some(map) = operation.as_object_mut() {
                    map.entry("value").or_insert(Value::Null);
                    if op == "replace" && lookup(object, path)?.is_none() {
                        // The original replaces what is missing in an object by adding it.
                        map.insert("op".to_owned(), "add".into());
                    }
                }
                return run(object, &operation);
            }
            Some("remove" | "move") => {}
            _ => return Err(Error::Unprocessable),
        }
        run(object, operation)
    }
}

/// The operation with tildes that escape nothing taken as they are.
fn escaped(operation: &Value) -> Value {
    let mut operation = operation.clone();
    for key in ["path", "from"] {
        let Some(Value::String(path)) = operation.get_mut(key) else { continue };
        let mut out = String::with_capacity(path.len());
        let mut rest = path.as_str();
        while let Some((before, after)) = rest.split_once('~') {
            out.push_str(before);
            out.push_str(if after.starts_with(['0', '1']) { "~" } else { "~0" });
            rest = after;
        }
        out.push_str(rest);
        *path = out;
    }
    operation
}

/// `1` and `1.0` are written differently, and a test compares what is written.
fn same_kind(found: Option<&Value>, value: &Value) -> bool {
    match (found, value) {
        (Some(Value::Number(a)), Value::Number(b)) => a.is_f64() == b.is_f64(),
        _ => true,
    }
}

/// What is at a path; a missing last step is `None`, a missing way there an error.
fn lookup<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, Error> {
    if path.is_empty() {
        return Ok(Some(object));
    }
    let (parent, last) = path.rsplit_once('/').ok_or(Error::Unprocessable)?;
    let parent = object.pointer(parent).ok_or(Error::Unprocessable)?;
    match parent {
        Value::Object(map) => Ok(map.get(&last.replace("~1", "/").replace("~0", "~"))),
        Value::Array(items) => {
            let at: usize = last.parse().map_err(|_| Error::Unprocessable)?;
            items.get(at).map(Some).ok_or(Error::Unprocessable)
        }
        _ => Err(Error::Unprocessable),
    }
}

fn run(object: &mut Value, operation: &Value) -> Result<(), Error> {
    let path = operation.get("path").and_then(Value::as_str).unwrap_or_default();
    PointerBuf::parse(path).map_err(|_| Error::Unprocessable)?;
    let operation: PatchOperation =
        serde_json::from_value(operation.clone()).map_err(|_| Error::Unprocessable)?;
    json_patch::patch(object, &Patch(vec![operation]).0).map_err(|_| Error::Unprocessable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(object: &Value, patch: Value) -> Result<Value, Error> {
        JsonPatch::parse(patch.to_string().as_bytes())?.apply(object)
    }

    #[test]
    fn a_patch_is_applied_whole_or_not_at_all() {
        let object = json!({"data": {"k": "v"}, "kind": "ConfigMap"});
        let done = apply(
            &object,
            json!([{"op": "add", "path": "/data/x", "value": "1"},
            {"op": "remove", "path": "/data/k"}]),
        );
        assert_eq!(done.expect("applies"), json!({"data": {"x": "1"}, "kind": "ConfigMap"}));
        let failed = apply(
            &object,
            json!([{"op": "add", "path": "/data/x", "value": "1"},
            {"op": "test", "path": "/data/k", "value": "w"}]),
        );
        assert!(matches!(failed, Err(Error::Unprocessable)));
    }

    #[test]
    fn missing_fields_test_as_null_and_copy_as_null() {
        let object = json!({"data": {"k": "v"}});
        assert!(apply(&object, json!([{"op": "test", "path": "/data/no", "value": null}])).is_ok());
        assert!(apply(&object, json!([{"op": "test", "path": "/no/k", "value": null}])).is_err());
        let copied = apply(&object, json!([{"op": "copy", "from": "/data/no", "path": "/data/x"}]));
        assert_eq!(copied.expect("copies"), json!({"data": {"k": "v", "x": null}}));
        assert!(apply(&object, json!([{"op": "move", "from": "/data/no", "path": "/x"}])).is_err());
        assert!(
            apply(&json!({"n": 1}), json!([{"op": "test", "path": "/n", "value": 1.0}])).is_err()
        );
    }

    #[test]
    fn a_body_that_is_no_patch_is_told_so() {
        let text = |body: &str| JsonPatch::parse(body.as_bytes()).expect_err("refused").to_string();
        assert_eq!(text("{"), "invalid JSON patch");
        assert!(text("{}").ends_with("object into Go value of type []handlers.jsonPatchOp"));
        assert!(text("[1]").ends_with("number into Go value of type handlers.jsonPatchOp"));
    }
}
