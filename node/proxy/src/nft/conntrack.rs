//! The kernel's table of connections: flows that were sent to an endpoint stay with it, even when
//! it is gone. TCP notices and connects anew; UDP has to be helped.

use super::{HEADER, Kernel, NLMSG_ERROR, answers_in, kind, message::Message, messages_in, number};
use crate::Error;
use std::net::Ipv4Addr;

/// Message types of connection tracking: subsystem 1, then what to do.
const GET: u16 = 1 << 8 | 1;
/// Forget a flow.
const DELETE: u16 = 1 << 8 | 2;
/// The list is complete.
const NLMSG_DONE: u16 = 3;
/// Flags: a request.
const REQUEST: u16 = 1;
/// Flags: to be acknowledged.
const ACK: u16 = 4;
/// Flags: a list is wanted.
const DUMP: u16 = 0x300;
/// Attribute: addresses of the first packet.
const ORIGINAL: u16 = 1;
/// Attribute: addresses of an answer.
const REPLY: u16 = 2;
/// Length of what follows the header: family, version, nothing.
const GENERIC: usize = 4;

/// One end of a flow.
pub(crate) type End = (Ipv4Addr, u16);

/// A flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Its protocol.
    pub(crate) protocol: u8,
    /// Where its first packet went to.
    pub(crate) to: End,
    /// Who answers.
    pub(crate) answers: End,
    /// The addresses of the first packet as the kernel wrote them: the flow's name.
    name: Vec<u8>,
}

impl Kernel {
    /// All flows of a protocol.
    pub(crate) fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>, Error> {
        let sequence = self.next_sequence();
        let failed = |source| Error::Kernel { action: "list connections".into(), source };
        let bytes = message(GET, REQUEST | DUMP, sequence, &[]);
        self.socket.send(&bytes, 0).map_err(failed)?;
        let mut flows = Vec::new();
        loop {
            let (answers, _) = self.socket.recv_from_full().map_err(failed)?;
            for message in messages_in(&answers).filter(|one| number(one, 8) == sequence) {
                match kind(message) {
                    NLMSG_DONE => return Ok(flows),
                    NLMSG_ERROR => {
                        let error = answers_in(message).next().map(|answer| answer.error());
                        return Err(failed(
                            error.unwrap_or_else(|| std::io::ErrorKind::Other.into()),
                        ));
                    }
                    _ => flows.extend(read(message).filter(|flow| flow.protocol == protocol)),
                }
            }
        }
    }

    /// Forgets a flow; one that has gone by itself is fine.
    pub(crate) fn forget(&mut self, flow: &Flow) -> Result<(), Error> {
        let sequence = self.next_sequence();
        let failed = |source| Error::Kernel { action: "forget a connection".into(), source };
        let mut attributes = Message::new();
        attributes.nest(ORIGINAL, |inner| inner.append(&flow.name));
        let bytes = message(DELETE, REQUEST | ACK, sequence, attributes.bytes());
        self.socket.send(&bytes, 0).map_err(failed)?;
        loop {
            let (answers, _) = self.socket.recv_from_full().map_err(failed)?;
            let Some(answer) = answers_in(&answers).find(|one| one.sequence == sequence) else {
                continue;
            };
            return match answer.errno.abs() {
                0 | nix::libc::ENOENT => Ok(()),
                _ => Err(failed(answer.error())),
            };
        }
    }
}

/// A whole message.
fn message(kind: u16, flags: u16, sequence: u32, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + GENERIC + attributes.len()).expect("a small message");
    let family = u8::try_from(nix::libc::AF_INET).expect("a small number");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[family, 0, 0, 0]);
    bytes.extend_from_slice(attributes);
    bytes
}

/// Reads a flow.
fn read(message: &[u8]) -> Option<Flow> {
    let attributes = message.get(HEADER + GENERIC..)?;
    let original = attribute(attributes, ORIGINAL)?;
    let reply = attribute(attributes, REPLY)?;
    let protocol = *attribute(attribute(original, 2)?, 1)?.first()?;
    let to = (address(original, 2)?, port(original, 3)?);
    let answers = (address(reply, 1)?, port(reply, 2)?);
    Some(Flow { protocol, to, answers, name: original.to_vec() })
}

/// An address of a tuple: 1 is the source's, 2 the destination's.
fn address(tuple: &[u8], which: u16) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = attribute(attribute(tuple, 1)?, which)?.try_into().ok()?;
    Some(bytes.into())
}

/// A port of a tuple: 2 is the source's, 3 the destination's.
fn port(tuple: &[u8], which: u16) -> Option<u16> {
    let bytes: [u8; 2] = attribute(attribute(tuple, 2)?, which)?.get(..2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

/// The value of one attribute among others.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([a, b])).clamp(4, rest.len());
        // The two highest bits say nothing about which one it is.
        if u16::from_ne_bytes([c, d]) & 0x3fff == wanted {
            return Some(&rest[4..length]);
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    None
}
