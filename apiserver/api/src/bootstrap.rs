//! What a fresh API server contains: roles, bindings, flow schemas, priority classes and so on.
//!
//! The objects are facts (recorded from a fresh server) embedded as they are. Metadata that the
//! server fills (uid, times, versions) is not in them.

use std::sync::OnceLock;

use serde_json::Value;

use crate::facts;

static FILE: &[u8] = include_bytes!("facts/bootstrap.json.gz");
static OBJECTS: OnceLock<Vec<(String, Vec<Value>)>> = OnceLock::new();

/// The objects by list path (`/api/v1/namespaces`), sorted by path.
pub fn objects() -> &'static [(String, Vec<Value>)] {
    OBJECTS.get_or_init(|| {
        let parsed: serde_json::Map<String, Value> = serde_json::from_str(&facts::inflate(FILE))
            .expect("the embedded bootstrap objects are generated valid");
        parsed
            .into_iter()
            .map(|(path, list)| match list {
                Value::Array(items) => (path, items),
                other => (path, vec![other]),
            })
            .collect()
    })
}

/// The objects of one list path; empty when there are none.
pub fn at(path: &str) -> &'static [Value] {
    objects().iter().find(|(p, _)| p == path).map_or(&[], |(_, items)| items.as_slice())
}
