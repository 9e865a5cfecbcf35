//! Protobuf's wire format: varints, keys, length-delimited parts.

use super::Error;

/// Wire type of a varint.
pub(super) const VARINT: u32 = 0;
/// Wire type of eight bytes.
pub(super) const FIXED64: u32 = 1;
/// Wire type of length-delimited bytes.
pub(super) const BYTES: u32 = 2;
/// Wire type of four bytes.
const FIXED32: u32 = 5;

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push((n & 0x7f) as u8);
}

/// Appends a field's key.
pub(super) fn put_key(out: &mut Vec<u8>, number: u32, wire: u32) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

/// Appends a varint field.
pub(super) fn put_int(out: &mut Vec<u8>, number: u32, n: i64) {
    put_key(out, number, VARINT);
    put_varint(out, n.cast_unsigned());
}

/// Appends a length-delimited field.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What a field holds on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// A varint.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes; nothing of ours uses them.
    Fixed32,
    /// Length-delimited bytes.
    Bytes(&'a [u8]),
}

/// The fields of a message, one after another.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

fn eof() -> Error {
    Error::Protobuf("unexpected EOF".to_owned())
}

impl<'a> Reader<'a> {
    /// Reads a message.
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(eof)?;
            self.rest = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Error::Protobuf("proto: integer overflow".to_owned()))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let length = usize::try_from(length).map_err(|_| eof())?;
        if length > self.rest.len() {
            return Err(eof());
        }
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(head)
    }

    /// The next field's number and content; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Part<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).unwrap_or(0);
        if number == 0 {
            return Err(Error::Protobuf(format!("proto: illegal tag {number} (wire type {key})")));
        }
        let part = match u32::try_from(key & 7).unwrap_or(u32::MAX) {
            VARINT => Part::Varint(self.varint()?),
            FIXED64 => {
                let bytes = self.take(8)?;
                Part::Fixed64(u64::from_le_bytes(bytes.try_into().map_err(|_| eof())?))
            }
            BYTES => {
                let length = self.varint()?;
                Part::Bytes(self.take(length)?)
            }
            FIXED32 => self.take(4).map(|_| Part::Fixed32)?,
            other => {
                return Err(Error::Protobuf(format!("proto: illegal wireType {other}")));
            }
        };
        Ok(Some((number, part)))
    }
}

impl<'a> Part<'a> {
    /// The bytes of a length-delimited field.
    pub(super) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Part::Bytes(bytes) => Ok(bytes),
            other => Err(wrong(other)),
        }
    }

    /// The text of a length-delimited field; invalid UTF-8 is replaced.
    pub(super) fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    /// The integer of a varint field.
    pub(super) fn int(self) -> Result<i64, Error> {
        match self {
            Part::Varint(n) => Ok(n.cast_signed()),
            other => Err(wrong(other)),
        }
    }
}

fn wrong(part: Part<'_>) -> Error {
    let wire = match part {
        Part::Varint(_) => VARINT,
        Part::Fixed64(_) => FIXED64,
        Part::Fixed32 => FIXED32,
        Part::Bytes(_) => BYTES,
    };
    Error::Protobuf(format!("proto: wrong wireType = {wire}"))
}
