//! Why a body could not be decoded, with upstream's words for each stage.
//!
//! The text depends on how far decoding got: no JSON at all, JSON of no known kind, a known kind
//! with a field of the wrong type, a well-typed object with unknown fields under `Strict`.

use super::TypeMeta;
use crate::facts::{Gvk, registry, split_api_version};

/// Bytes of the body that an error quotes.
const SNIPPET: usize = 30;

/// Why a body could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no JSON, or no object.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Syntax(String),
    /// The text is no YAML.
    #[error("yaml: {0}")]
    Yaml(String),
    /// A value does not fit its field.
    #[error("{0}")]
    Mismatch(String),
    /// Unknown or duplicate fields under `Strict`.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// The bytes are no protobuf message of the type.
    #[error("{0}")]
    Protobuf(String),
    /// The body's kind is not the one wanted; already the whole message.
    #[error("{0}")]
    WrongKind(String),
    /// Protobuf can't be read without a type.
    #[error("protobuf is not supported for this kind")]
    Untyped,
}

impl Error {
    /// The whole message of the answer (400) for a body that should have been `wanted`.
    pub fn message(&self, body: &[u8], meta: &TypeMeta, wanted: Gvk<'_>) -> String {
        match self {
            Error::Mismatch(_) | Error::Strict(_) => handled_as(meta, wanted, &self.to_string()),
            Error::WrongKind(text) => text.clone(),
            Error::Syntax(_) | Error::Yaml(_) | Error::Protobuf(_) | Error::Untyped => {
                let kind = wanted.kind;
                let snippet = snippet(body);
                format!(
                    "the object provided is unrecognized (must be of type {kind}): {self} \
                         ({snippet})"
                )
            }
        }
    }
}

/// `X in version "v" cannot be handled as a Y: why`, where the body's kind defaults to the wanted.
fn handled_as(meta: &TypeMeta, wanted: Gvk<'_>, why: &str) -> String {
    let kind = if meta.kind.is_empty() { wanted.kind } else { &meta.kind };
    let version = match split_api_version(&meta.api_version).1 {
        "" => wanted.version,
        version => version,
    };
    format!("{kind} in version \"{version}\" cannot be handled as a {}: {why}", wanted.kind)
}

fn snippet(body: &[u8]) -> String {
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let head = &body[..body.len().min(SNIPPET)];
    let more = if body.len() > SNIPPET { " ..." } else { "" };
    if body[0] == b'{' {
        return format!("{}{more}", String::from_utf8_lossy(head));
    }
    let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
    format!("{hex}{more}")
}

/// The error of a body that names another kind than the one wanted.
pub(super) fn wrong_kind(meta: &TypeMeta, wanted: Gvk<'_>) -> Option<Error> {
    let kind = if meta.kind.is_empty() { wanted.kind } else { &meta.kind };
    let wanted_version = wanted.api_version();
    let api_version = if meta.api_version.is_empty() { &wanted_version } else { &meta.api_version };
    let (group, version) = split_api_version(api_version);
    if kind == wanted.kind && *api_version == wanted_version {
        return None;
    }
    let builtin = registry().kind(wanted.group, wanted.version, wanted.kind).is_some();
    let known = group != "meta.k8s.io" && registry().kind(group, version, kind).is_some();
    if kind == wanted.kind && (known || !builtin || was_served(group, version, wanted)) {
        return Some(Error::WrongKind(format!(
            "the API version in the data ({api_version}) does not match the expected API version \
             ({wanted_version})"
        )));
    }
    let why = if known {
        format!(
            "converting ({version}.{kind}) to ({}.{}): unknown conversion",
            internal_package(wanted.group),
            wanted.kind
        )
    } else {
        format!(
            "no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \
             \"pkg/runtime/scheme.go:111\""
        )
    };
    Some(Error::WrongKind(handled_as(meta, wanted, &why)))
}

/// Versions that upstream still reads though it serves them no more.
fn was_served(group: &str, version: &str, wanted: Gvk<'_>) -> bool {
    let pre_release = version.contains("alpha") || version.contains("beta");
    pre_release && (group == wanted.group && !group.is_empty() || group == "extensions")
}

/// The name that upstream's internal package of a group has in messages.
fn internal_package(group: &str) -> &str {
    match group.split('.').next().unwrap_or_default() {
        "" => "core",
        first => first,
    }
}
