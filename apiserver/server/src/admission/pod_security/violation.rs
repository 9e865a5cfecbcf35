//! What a check found, and the words that checks share.

use serde_json::Value;

use crate::fields;

/// A rule that a Pod breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// The rule.
    pub(super) reason: String,
    /// Where it is broken.
    pub(super) detail: String,
}

impl Violation {
    /// A broken rule.
    pub(super) fn new(reason: &str, detail: String) -> Self {
        Self { reason: reason.to_owned(), detail }
    }
}

/// All containers: those that run first come first.
pub(super) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["/initContainers", "/containers", "/ephemeralContainers"];
    lists.into_iter().flat_map(move |path| fields::list(spec, path))
}

/// Names of the containers that something holds for.
pub(super) fn named(spec: &Value, holds: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(spec).filter(|c| holds(c)).map(|c| fields::text(c, "/name")).collect()
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn list(noun: &str, names: &[&str]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", quoted(names))
}

/// Names in quotes.
pub(super) fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}
