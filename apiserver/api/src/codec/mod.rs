//! Bodies to documents and back: JSON, YAML and Kubernetes' protobuf against the facts registry.
//!
//! A decoded document has the form that Go's types would give when encoded again: unknown fields
//! are gone, nulls and empty optional fields too, required ones are present, quantities and times
//! are canonical. That makes the stored bytes independent of how a client wrote them.

mod canonical;
mod discovery;
mod error;
mod json;
mod openapi_v2;
mod protobuf;
mod strict;
mod time;
mod wire;
mod yaml;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::{
    canonical::{canonicalize, zero},
    discovery::{encode_discovery, legacy_discovery_text},
    error::Error,
    openapi_v2::encode_openapi_v2,
    protobuf::{
        decode_envelope, decode_message, encode_message, encode_protobuf, encode_unknown,
        encode_watch_event,
    },
    time::{canonical_micro_time, canonical_time},
};
use crate::facts::{Gvk, Ty};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What unknown and duplicate fields lead to (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are an error.
    Strict,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are dropped.
    Ignore,
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The document in canonical form.
    pub value: Value,
    /// Warnings for the client (`Strictness::Warn`), in upstream's texts.
    pub warnings: Vec<String>,
}

/// The apiVersion and kind of a body, empty where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeMeta {
    /// `v1`, `apps/v1`
    pub api_version: String,
    /// `Pod`
    pub kind: String,
}

impl ContentType {
    /// The content type of a media type (parameters ignored), if it is one of ours.
    pub fn from_media_type(media_type: &str) -> Option<ContentType> {
        match media_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(ContentType::Json),
            "application/yaml" => Some(ContentType::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(ContentType::Protobuf),
            _ => None,
        }
    }
}

/// Reads a body without any type: a document as written, plus duplicate-key errors.
pub fn parse(bytes: &[u8], content: ContentType) -> Result<(Value, Vec<String>), Error> {
    match content {
        ContentType::Json => json::parse(bytes),
        ContentType::Yaml => yaml::parse(bytes),
        ContentType::Protobuf => Err(Error::Untyped),
    }
}

/// The apiVersion and kind that a body names.
pub fn peek(bytes: &[u8], content: ContentType) -> Result<TypeMeta, Error> {
    match content {
        ContentType::Json => json::peek(bytes),
        ContentType::Yaml => json::peek_doc(&yaml::scan(bytes)?.0),
        ContentType::Protobuf => protobuf::decode_envelope(bytes).map(|e| e.type_meta),
    }
}

/// Reads a body of a known type into canonical form.
///
/// The document's own apiVersion and kind are kept as they are; the caller compares them.
pub fn decode(
    ty: Ty<'_>,
    bytes: &[u8],
    content: ContentType,
    strictness: Strictness,
) -> Result<Decoded, Error> {
    if content == ContentType::Protobuf {
        let envelope = protobuf::decode_envelope(bytes)?;
        let mut value = protobuf::decode_message(ty, &envelope.raw)?;
        if let Value::Object(map) = &mut value {
            json::set_type_meta(map, &envelope.type_meta);
        }
        return Ok(Decoded { value, warnings: Vec::new() });
    }
    match content {
        ContentType::Yaml => {
            let (doc, problems) = yaml::scan(bytes)?;
            strict::decode_doc(ty, doc, problems, strictness)
        }
        _ => strict::decode_doc(ty, json::scan(bytes)?, Vec::new(), strictness),
    }
}

/// Brings a parsed document (a patch's result, say) into canonical form.
///
/// `problems` are strict errors found while parsing (duplicate keys); they come first.
pub fn decode_value(
    ty: Ty<'_>,
    value: Value,
    problems: Vec<String>,
    strictness: Strictness,
) -> Result<Decoded, Error> {
    strict::decode(ty, value, problems, strictness)
}

/// The error of an object whose kind is another than the path's, or none, in upstream's text.
pub fn wrong_kind(body: &TypeMeta, wanted: Gvk<'_>) -> Option<Error> {
    error::wrong_kind(body, wanted)
}
