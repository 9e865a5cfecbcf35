//! Recorded writes against the original server, for tests: what was sent, what was there before,
//! and what came of it.

use serde::Deserialize;
use serde_json::Value;

/// The recorded writes.
static WRITES: &[u8] = include_bytes!("testdata/writes.jsonl.gz");

/// One write.
#[derive(Debug, Deserialize)]
pub(crate) struct Write {
    /// Name of the recorded case.
    pub(crate) case: String,
    /// `create` or `update`.
    pub(crate) op: String,
    /// API group.
    pub(crate) group: String,
    /// Version.
    pub(crate) version: String,
    /// Kind.
    pub(crate) kind: String,
    /// Whether objects live in namespaces.
    pub(crate) namespaced: bool,
    /// Namespace of the path.
    #[serde(default)]
    pub(crate) ns: String,
    /// Subresource of the path.
    #[serde(default)]
    pub(crate) sub: String,
    /// What was sent; for a patch, what it came to.
    pub(crate) new: Value,
    /// What was there.
    #[serde(default)]
    pub(crate) old: Option<Value>,
    /// What was stored.
    #[serde(default)]
    pub(crate) stored: Option<Value>,
    /// What was wrong: field and message.
    #[serde(default)]
    pub(crate) causes: Vec<(String, String)>,
}

/// All recorded writes.
pub(crate) fn writes() -> Vec<Write> {
    let text = crate::facts::inflate(WRITES);
    text.lines().map(|line| serde_json::from_str(line).expect("a recorded write")).collect()
}
