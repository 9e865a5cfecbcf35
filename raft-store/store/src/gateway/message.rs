//! Messages as JSON, as protobuf maps them, and in gRPC's frames. In answers as etcd's gateway
//! writes them: fields under their original names, without those that are empty or zero, 64-bit
//! numbers as strings.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::value::RawValue;
use tonic::Status;

/// Bytes before each message in a gRPC stream: whether it is compressed, and its length.
const FRAME: usize = 5;

/// A message from JSON; no text is an empty message. Text behind the first value is not read.
pub(crate) fn from_json(kind: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(DynamicMessage::new(kind.clone()));
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(kind.clone(), &mut json, &options)
        .map_err(|error| unreadable(&error))
}

/// Takes the objects out of a stream of JSON, whatever pieces it comes in. Each byte is looked at
/// once until an object is whole: a client may send one at a time.
#[derive(Default)]
pub(crate) struct Values {
    buffer: BytesMut,
    /// Bytes of the buffer that were looked at.
    seen: usize,
    /// Brackets that are open.
    depth: usize,
    is_string: bool,
    is_escaped: bool,
}

impl Values {
    /// A further piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Bytes that wait for the rest of their object.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next object; `None` while it is not whole.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.seen == 0 {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.advance(blank);
            if self.buffer.first().is_some_and(|first| *first != b'{') {
                return Err(Status::invalid_argument("proto: syntax error: expected an object"));
            }
        }
        while let Some(byte) = self.buffer.get(self.seen) {
            self.seen += 1;
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_string => self.is_escaped = true,
                b'"' => self.is_string = !self.is_string,
                _ if self.is_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                let value = self.buffer.split_to(std::mem::take(&mut self.seen)).freeze();
                return match serde_json::from_slice::<&RawValue>(&value) {
                    Ok(_) => Ok(Some(value)),
                    Err(error) => Err(unreadable(&error)),
                };
            }
        }
        Ok(None)
    }

    /// Nothing follows: refuses an object that is not whole.
    pub(crate) fn finish(self) -> Result<(), Status> {
        match serde_json::from_slice::<&RawValue>(&self.buffer) {
            Err(error) if !self.buffer.is_empty() => Err(unreadable(&error)),
            _ => Ok(()),
        }
    }
}

fn unreadable(error: &serde_json::Error) -> Status {
    Status::invalid_argument(format!("proto: {error}"))
}

/// A message as JSON.
pub(crate) fn to_json(message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let mut text = Vec::new();
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
    let mut json = serde_json::Serializer::new(&mut text);
    let written = message.serialize_with_options(&mut json, &options);
    written.map_err(|error| Status::internal(error.to_string()))?;
    Ok(text)
}

/// An error as JSON.
pub(crate) fn error(status: &Status) -> String {
    let message = serde_json::Value::from(status.message());
    format!("{{\"code\":{},\"message\":{message}}}", i32::from(status.code()))
}

/// A message in its frame.
pub(crate) fn frame(message: &DynamicMessage) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(FRAME + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode(&mut bytes).expect("the buffer grows as needed");
    bytes.freeze()
}

/// Takes messages out of frames, whatever pieces they come in.
pub(crate) struct Frames {
    kind: MessageDescriptor,
    buffer: BytesMut,
}

impl Frames {
    pub(crate) fn new(kind: MessageDescriptor) -> Self {
        Self { kind, buffer: BytesMut::new() }
    }

    /// A further piece.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message.
    pub(crate) fn next(&mut self) -> Result<Option<DynamicMessage>, Status> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<FRAME>() else { return Ok(None) };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if rest.len() < length {
            return Ok(None);
        }
        let message = self.buffer.split_to(FRAME + length).freeze().slice(FRAME..);
        let message = DynamicMessage::decode(self.kind.clone(), message);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
