//! What is said on a shim's socket: frames of one byte of kind, four of length, and the payload.

use crate::session::Size;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::io;
use tokio_util::codec::{Decoder, Encoder};

/// Longest payload.
const MAX_FRAME: usize = 1 << 20;

/// The first frame of a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start the container's process.
    Start,
    /// Send a signal to it.
    Kill(i32),
    /// Say when it has ended; the connection closes when the shim has cleaned up.
    Wait,
    /// Join its streams.
    Attach {
        /// Whether input will come.
        stdin: bool,
        /// Whether output is wanted.
        stdout: bool,
        /// Whether errors are wanted.
        stderr: bool,
    },
}

/// Frames after the first, in both directions.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The request, as JSON.
    Request(Bytes),
    /// It was done; with an empty text, or why not.
    Reply(String),
    /// Input for the process.
    Stdin(Bytes),
    /// No more input.
    StdinEnd,
    /// New size of the terminal.
    Resize(Size),
    /// Output of the process.
    Stdout(Bytes),
    /// Its errors.
    Stderr(Bytes),
    /// How it ended, as JSON of [`crate::Exit`].
    Exit(Bytes),
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Codec;

impl Encoder<Frame> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> io::Result<()> {
        let (kind, payload) = match frame {
            Frame::Request(json) => (0, json),
            Frame::Reply(text) => (1, text.into()),
            Frame::Stdin(bytes) => (2, bytes),
            Frame::StdinEnd => (3, Bytes::new()),
            Frame::Resize(size) => (4, serde_json::to_vec(&size)?.into()),
            Frame::Stdout(bytes) => (5, bytes),
            Frame::Stderr(bytes) => (6, bytes),
            Frame::Exit(json) => (7, json),
        };
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        out.reserve(5 + payload.len());
        out.put_u8(kind);
        out.put_u32(length);
        out.put(payload);
        Ok(())
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> io::Result<Option<Frame>> {
        if input.len() < 5 {
            return Ok(None);
        }
        let length = u32::from_be_bytes([input[1], input[2], input[3], input[4]]) as usize;
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
        }
        if input.len() < 5 + length {
            input.reserve(5 + length - input.len());
            return Ok(None);
        }
        let kind = input[0];
        input.advance(5);
        let payload = input.split_to(length).freeze();
        Ok(Some(match kind {
            0 => Frame::Request(payload),
            1 => Frame::Reply(String::from_utf8_lossy(&payload).into_owned()),
            2 => Frame::Stdin(payload),
            3 => Frame::StdinEnd,
            4 => Frame::Resize(serde_json::from_slice(&payload)?),
            5 => Frame::Stdout(payload),
            6 => Frame::Stderr(payload),
            7 => Frame::Exit(payload),
            other => {
                let reason = format!("unknown frame {other}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }))
    }
}
