//! Speaks nf_tables to the kernel: transactions of messages over a netlink socket.
//!
//! Everything between two generations of the rule set is one transaction, so that a packet sees
//! either all of a change or nothing of it. No other program is started: that costs a process and
//! its memory per change.

mod batch;
mod conntrack;
mod expr;
mod message;

pub(crate) use batch::{Batch, Element, SetSpec, Value};
pub(crate) use conntrack::Flow;
pub(crate) use expr::{Expressions, Meta, Register};
pub(crate) use message::Verdict;

use crate::Error;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::{
    socket::{setsockopt, sockopt},
    time::{TimeVal, TimeValLike},
};
use std::io;

/// The netlink protocol of netfilter.
const NETLINK_NETFILTER: isize = 12;
/// Largest transaction: some 400,000 endpoints.
const SEND_BUFFER: usize = 64 << 20;
/// Room for the answers to one transaction.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel gets so long to answer.
const PATIENCE_SECONDS: i64 = 30;
/// Type of an answer that carries an error number (zero: done).
const NLMSG_ERROR: u16 = 2;
/// Length of a netlink message's header.
const HEADER: usize = 16;

/// A connection into the network namespace of the thread that opened it.
pub(crate) struct Kernel {
    socket: Socket,
    sequence: u32,
}

impl Kernel {
    /// Opens a connection.
    pub(crate) fn open() -> Result<Self, Error> {
        let opened = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            let patience = TimeVal::seconds(PATIENCE_SECONDS);
            setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
            Ok(socket)
        };
        let socket = opened().map_err(|source| Error::Kernel {
            action: "open a netfilter socket (needs root)".into(),
            source,
        })?;
        Ok(Self { socket, sequence: 1 })
    }

    /// The number of the next message that is no transaction.
    fn next_sequence(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence += 1;
        sequence
    }

    /// Commits a transaction, or changes nothing. Blocks for as long as the kernel works on it.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let first = self.sequence;
        let (bytes, labels) = batch.finish(first);
        let last = first + u32::try_from(labels.len()).expect("a transaction fits into memory");
        // One for the frame's end.
        self.sequence = last + 2;
        let failed = |action: &str| {
            let action = action.to_owned();
            move |source| Error::Kernel { action, source }
        };
        self.socket.send(&bytes, 0).map_err(failed("send a transaction"))?;
        let mut failure = None;
        loop {
            let (answers, _) =
                self.socket.recv_from_full().map_err(failed("read the kernel's answer"))?;
            for answer in answers_in(&answers) {
                if answer.sequence < first {
                    // Left over from a transaction that was given up on.
                    continue;
                }
                if answer.errno != 0 && failure.is_none() {
                    let at = (answer.sequence - first) as usize;
                    let action = match at.checked_sub(1).and_then(|at| labels.get(at)) {
                        Some(label) => label.clone().into_owned(),
                        None => "commit a transaction".into(),
                    };
                    failure = Some(Error::Kernel { action, source: answer.error() });
                }
                // The first number is the frame's: an error there ends the transaction at once.
                if answer.sequence == last || (answer.sequence == first && answer.errno != 0) {
                    return failure.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Whether a table is there.
    pub(crate) fn has_table(&mut self, table: &str) -> Result<bool, Error> {
        let sequence = self.next_sequence();
        let asking = |source| Error::Kernel { action: "look for the table".into(), source };
        let bytes = batch::get_table(table, sequence);
        self.socket.send(&bytes, 0).map_err(asking)?;
        loop {
            let (answers, _) = self.socket.recv_from_full().map_err(asking)?;
            for message in messages_in(&answers) {
                if number(message, 8) != sequence {
                    continue;
                }
                if kind(message) != NLMSG_ERROR {
                    return Ok(true);
                }
                let answer = Answer::read(message);
                match answer.errno.abs() {
                    nix::libc::ENOENT => return Ok(false),
                    0 => return Ok(true),
                    _ => return Err(asking(answer.error())),
                }
            }
        }
    }
}

/// What the kernel says to one message.
struct Answer {
    sequence: u32,
    errno: i32,
    text: Option<String>,
}

impl Answer {
    /// Reads an answer: header, error number, the echoed header, and maybe attributes with a text.
    fn read(message: &[u8]) -> Self {
        let errno = number(message, HEADER).cast_signed();
        let attributes = message.get(2 * HEADER + 4..).unwrap_or_default();
        Self { sequence: number(message, 8), errno, text: text_in(attributes) }
    }

    /// As a system error, with the kernel's own words if there are any.
    fn error(&self) -> io::Error {
        let error = io::Error::from_raw_os_error(self.errno.abs());
        match &self.text {
            Some(text) => io::Error::new(error.kind(), format!("{error}: {text}")),
            None => error,
        }
    }
}

/// The answers with an error number.
fn answers_in(bytes: &[u8]) -> impl Iterator<Item = Answer> {
    messages_in(bytes).filter(|message| kind(message) == NLMSG_ERROR).map(Answer::read)
}

/// Cuts what was received into messages.
fn messages_in(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.len() < HEADER {
            return None;
        }
        let length = (number(rest, 0) as usize).clamp(HEADER, rest.len());
        let message = &rest[..length];
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(message)
    })
}

/// The type of a message.
fn kind(message: &[u8]) -> u16 {
    let bytes = message.get(4..6).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u16::from_ne_bytes)
}

/// Four bytes of a message as a number.
fn number(message: &[u8], at: usize) -> u32 {
    let bytes = message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

/// The text attribute (type 1) among the attributes of an answer.
fn text_in(mut rest: &[u8]) -> Option<String> {
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([a, b])).clamp(4, rest.len());
        if u16::from_ne_bytes([c, d]) == 1 {
            let text = String::from_utf8_lossy(&rest[4..length]);
            return Some(text.trim_end_matches('\0').to_owned());
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    None
}
