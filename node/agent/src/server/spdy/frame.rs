//! Frames of SPDY/3.1 on the wire.
//!
//! ```text
//! control: 1 | version (15) | type (16) | flags (8) | length (24) | ...
//! data:    0 | stream (31)              | flags (8) | length (24) | bytes
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Flag: the sender of this frame sends no more on this stream.
pub(crate) const FIN: u8 = 1;
/// The version in control frames.
const VERSION: u16 = 3;
/// Longest frame that is taken.
const LONGEST: usize = 1 << 20;
/// Bytes of every frame's head.
const HEAD: usize = 8;

/// Types of control frames.
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

/// A frame, header blocks still compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A new stream.
    Open {
        /// Its id.
        stream: u32,
        /// Whether the opener sends nothing on it.
        fin: bool,
        /// Its headers, compressed.
        block: Bytes,
    },
    /// A stream is taken.
    Reply {
        /// Its id.
        stream: u32,
        /// Headers, compressed.
        block: Bytes,
    },
    /// A stream ends at once.
    Reset {
        /// Its id.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Is anybody there?
    Ping(u32),
    /// No more streams.
    Goaway,
    /// Bytes of a stream.
    Data {
        /// Its id.
        stream: u32,
        /// Whether it is the last.
        fin: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// Anything that needs no answer: settings, windows, headers.
    Other,
}

/// Reads one frame; `None` at the end.
pub(crate) async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD];
    match from.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let flags = head[4];
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    if length > LONGEST {
        return Err(bad(format!("a frame of {length} bytes")));
    }
    let mut body = BytesMut::zeroed(length);
    from.read_exact(&mut body).await?;
    let body = body.freeze();
    if first >> 31 == 0 {
        return Ok(Some(Frame::Data { stream: first, fin: flags & FIN != 0, bytes: body }));
    }
    control((first & 0xffff) as u16, flags, body).map(Some)
}

fn control(kind: u16, flags: u8, mut body: Bytes) -> io::Result<Frame> {
    let needed = match kind {
        SYN_STREAM => 10,
        SYN_REPLY | PING => 4,
        RST_STREAM => 8,
        _ => 0,
    };
    if body.len() < needed {
        return Err(bad(format!("a control frame of type {kind} with {} bytes", body.len())));
    }
    Ok(match kind {
        SYN_STREAM => {
            let stream = body.get_u32() & 0x7fff_ffff;
            body.advance(6);
            Frame::Open { stream, fin: flags & FIN != 0, block: body }
        }
        SYN_REPLY => Frame::Reply { stream: body.get_u32() & 0x7fff_ffff, block: body },
        RST_STREAM => Frame::Reset { stream: body.get_u32() & 0x7fff_ffff, status: body.get_u32() },
        PING => Frame::Ping(body.get_u32()),
        GOAWAY => Frame::Goaway,
        _ => Frame::Other,
    })
}

/// Writes one frame behind what is there.
pub(crate) fn write(frame: &Frame, out: &mut BytesMut) {
    let mut body = BytesMut::new();
    let (kind, fin) = match frame {
        Frame::Data { stream, fin, bytes } => {
            out.put_u32(*stream);
            length(out, u8::from(*fin), bytes.len());
            out.put_slice(bytes);
            return;
        }
        Frame::Open { stream, fin, block } => {
            body.put_u32(*stream);
            body.put_slice(&[0; 6]);
            body.put_slice(block);
            (SYN_STREAM, *fin)
        }
        Frame::Reply { stream, block } => {
            body.put_u32(*stream);
            body.put_slice(block);
            (SYN_REPLY, false)
        }
        Frame::Reset { stream, status } => {
            body.put_u32(*stream);
            body.put_u32(*status);
            (RST_STREAM, false)
        }
        Frame::Ping(id) => {
            body.put_u32(*id);
            (PING, false)
        }
        Frame::Goaway => {
            body.put_u64(0);
            (GOAWAY, false)
        }
        Frame::Other => return,
    };
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    length(out, u8::from(fin), body.len());
    out.put_slice(&body);
}

/// Flags and length.
fn length(out: &mut BytesMut, flags: u8, bytes: usize) {
    let bytes = u32::try_from(bytes).expect("frames are short");
    out.put_u32(u32::from(flags) << 24 | bytes);
}

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_as_they_went() {
        let frames = [
            Frame::Open { stream: 1, fin: false, block: Bytes::from_static(b"abc") },
            Frame::Reply { stream: 1, block: Bytes::from_static(b"d") },
            Frame::Data { stream: 1, fin: true, bytes: Bytes::from_static(b"hello") },
            Frame::Reset { stream: 3, status: 1 },
            Frame::Ping(7),
            Frame::Goaway,
        ];
        let mut wire = BytesMut::new();
        for frame in &frames {
            write(frame, &mut wire);
        }
        let mut from = &wire[..];
        for frame in frames {
            assert_eq!(read(&mut from).await.expect("a frame"), Some(frame));
        }
        assert_eq!(read(&mut from).await.expect("the end"), None);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_cut_is_refused() {
        let long = [0, 0, 0, 1, 0, 0xff, 0xff, 0xff];
        assert!(read(&mut &long[..]).await.is_err());
        let cut = [0x80, 3, 0, 1, 0, 0, 0, 2, 1, 1];
        assert!(read(&mut &cut[..]).await.is_err());
    }
}
