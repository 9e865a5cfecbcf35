//! Messages as JSON, as protobuf maps them, and in gRPC's frames. In answers as etcd's gateway
//! writes them: fields under their original names, without those that are empty or zero, 64-bit
//! numbers as strings.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::value::RawValue;
use tonic::Status;

/// Bytes before each message in a gRPC stream: whether it is compressed, and its length.
const FRAME: usize = 5;

/// A message from JSON; no text is an empty message. Text behind the first value is not read.
pub(super) fn from_json(kind: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(DynamicMessage::new(kind.clone()));
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(kind.clone(), &mut json, &options)
        .map_err(|error| unreadable(&error))
}

/// The next value of a stream of JSON and how many bytes it took; `None` while it is not whole.
pub(super) fn next_value(text: &[u8]) -> Result<Option<(Bytes, usize)>, Status> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Box<RawValue>>();
    match values.next() {
        None => Ok(None),
        Some(Ok(value)) => {
            let value = Bytes::copy_from_slice(value.get().as_bytes());
            Ok(Some((value, values.byte_offset())))
        }
        Some(Err(error)) if error.is_eof() => Ok(None),
        Some(Err(error)) => Err(unreadable(&error)),
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
pub(super) fn error(status: &Status) -> String {
    let message = serde_json::Value::from(status.message());
    format!("{{\"code\":{},\"message\":{message}}}", i32::from(status.code()))
}

/// A message in its frame.
pub(super) fn frame(message: &DynamicMessage) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(FRAME + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode(&mut bytes).expect("the buffer grows as needed");
    bytes.freeze()
}

/// Takes messages out of frames, whatever pieces they come in.
pub(super) struct Frames {
    kind: MessageDescriptor,
    buffer: BytesMut,
}

impl Frames {
    pub(super) fn new(kind: MessageDescriptor) -> Self {
        Self { kind, buffer: BytesMut::new() }
    }

    /// A further piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Result<Option<DynamicMessage>, Status> {
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
