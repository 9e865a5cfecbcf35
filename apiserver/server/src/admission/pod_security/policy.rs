//! What a namespace's labels ask for.

use std::fmt;

use api::status::FieldError;
use serde_json::Value;

/// What the labels begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";
/// The version that goes with the server.
const LATEST: &str = "latest";

/// How much is allowed; a greater level allows less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything.
    Privileged,
    /// What does not lead out of a container.
    Baseline,
    /// What is hardened.
    Restricted,
}

/// What happens to Pods that violate a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are refused.
    Enforce,
    /// The client is told.
    Warn,
}

/// A level and the version of its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    /// The level.
    pub(super) level: Level,
    /// `latest` or `v1.x`.
    pub(super) version: String,
}

impl Policy {
    /// What a namespace asks for; what can't be read counts as the strictest.
    pub(super) fn of(namespace: &Value, mode: Mode) -> Self {
        let mode = match mode {
            Mode::Enforce => "enforce",
            Mode::Warn => "warn",
        };
        let level = match label(namespace, mode) {
            None => Level::Privileged,
            Some(text) => level(text).unwrap_or(Level::Restricted),
        };
        let version = label(namespace, &format!("{mode}-version"));
        let version = version.filter(|text| is_version(text)).unwrap_or(LATEST);
        Self { level, version: version.to_owned() }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        write!(f, "{level}:{}", self.version)
    }
}

fn label<'a>(namespace: &'a Value, name: &str) -> Option<&'a str> {
    let labels = namespace.pointer("/metadata/labels")?;
    labels.get(format!("{PREFIX}{name}"))?.as_str()
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn is_version(text: &str) -> bool {
    let minor = text.strip_prefix("v1.").unwrap_or_default();
    let digits = !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit());
    text == LATEST || (digits && (minor.len() == 1 || !minor.starts_with('0')))
}

/// What is wrong with the labels.
pub(super) fn check_labels(namespace: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        let version = format!("{mode}-version");
        let field = |name: &str| format!("metadata.labels[{PREFIX}{name}]");
        if let Some(text) = label(namespace, mode).filter(|text| level(text).is_none()) {
            let why = "must be one of privileged, baseline, restricted";
            errors.push(FieldError::invalid(&field(mode), text, why));
        }
        if let Some(text) = label(namespace, &version).filter(|text| !is_version(text)) {
            let why = "must be \"latest\" or \"v1.x\"";
            errors.push(FieldError::invalid(&field(&version), text, why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_checked_and_read() {
        let namespace = |labels: Value| json!({"metadata": {"labels": labels}});
        let bad = namespace(json!({"pod-security.kubernetes.io/enforce": "nope",
            "pod-security.kubernetes.io/warn-version": "1.20"}));
        assert_eq!(check_labels(&bad).len(), 2);
        let good = namespace(json!({"pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/enforce-version": "v1.30"}));
        assert!(check_labels(&good).is_empty());
        assert_eq!(Policy::of(&good, Mode::Enforce).to_string(), "baseline:v1.30");
        assert_eq!(Policy::of(&good, Mode::Warn).to_string(), "privileged:latest");
    }
}
