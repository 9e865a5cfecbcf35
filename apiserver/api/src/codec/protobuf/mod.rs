//! Kubernetes' protobuf: the `k8s\0` envelope around one message of a known type.
//!
//! The wire form is gogo's for Go structs: every field that is no pointer is written, zero or not,
//! in order of numbers; structs that Go embeds are nested messages; maps are sorted by key.

mod decode;
mod encode;

use serde_json::Value;

use super::{
    Error, TypeMeta,
    json::type_meta,
    wire::{Reader, put_bytes},
};
use crate::facts::Ty;

pub use self::{decode::decode_message, encode::encode_message};

/// What a body in protobuf begins with.
const MAGIC: &[u8] = b"k8s\0";

/// An opened envelope.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// Kind of the message.
    pub type_meta: TypeMeta,
    /// The message.
    pub raw: Vec<u8>,
    /// Content type of `raw`; empty for protobuf.
    pub content_type: String,
}

/// Encodes an object (or list, or Status) with its envelope.
pub fn encode_protobuf(ty: Ty<'_>, object: &Value) -> Vec<u8> {
    encode_unknown(&type_meta(object), &encode_message(ty, object))
}

/// Wraps an encoded message in the envelope.
pub fn encode_unknown(meta: &TypeMeta, raw: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, meta.api_version.as_bytes());
    put_bytes(&mut type_meta, 2, meta.kind.as_bytes());
    let mut out = MAGIC.to_vec();
    put_bytes(&mut out, 1, &type_meta);
    put_bytes(&mut out, 2, raw);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

/// Encodes a watch event around an object that is already in its envelope.
///
/// On the wire each event is preceded by its length as four bytes, big-endian; that is the
/// stream's business.
pub fn encode_watch_event(event_type: &str, object: &[u8]) -> Vec<u8> {
    let mut extension = Vec::with_capacity(object.len() + 8);
    put_bytes(&mut extension, 1, object);
    let mut out = Vec::with_capacity(extension.len() + 24);
    put_bytes(&mut out, 1, event_type.as_bytes());
    put_bytes(&mut out, 2, &extension);
    out
}

/// Opens the envelope of a body.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, Error> {
    let Some(message) = bytes.strip_prefix(MAGIC) else {
        return Err(Error::Protobuf(
            "provided data does not appear to be a protobuf message, expected prefix \
             [107 56 115 0]"
                .to_owned(),
        ));
    };
    if message.is_empty() {
        return Err(Error::Protobuf("empty body".to_owned()));
    }
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(message);
    while let Some((number, part)) = reader.next()? {
        match number {
            1 => {
                let mut meta = Reader::new(part.bytes()?);
                while let Some((number, part)) = meta.next()? {
                    match number {
                        1 => envelope.type_meta.api_version = part.text()?,
                        2 => envelope.type_meta.kind = part.text()?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = part.bytes()?.to_vec(),
            4 => envelope.content_type = part.text()?,
            _ => {}
        }
    }
    Ok(envelope)
}
