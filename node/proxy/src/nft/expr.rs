//! The expressions that rules are made of: small steps on registers of four bytes.

use super::message::{Message, Verdict};
use std::net::Ipv4Addr;

/// One of sixteen registers of four bytes. Neighbours together hold longer values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u32);

impl Register {
    /// The kernel's number: those of four bytes come after the older ones of sixteen.
    fn number(self) -> u32 {
        8 + self.0
    }
}

/// A property of a packet that is not in its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    /// The mark that rules may leave on it.
    Mark = 3,
    /// The protocol above IP.
    Protocol = 16,
}

/// Which header.
const NETWORK: u32 = 1;
/// Which header.
const TRANSPORT: u32 = 2;

/// The expressions of one rule, in order.
#[derive(Default)]
pub(crate) struct Expressions(Vec<(&'static str, Message)>);

impl Expressions {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Names and attributes.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&'static str, &Message)> {
        self.0.iter().map(|(name, message)| (*name, message))
    }

    /// Adds an expression.
    fn add(mut self, name: &'static str, fill: impl FnOnce(&mut Message)) -> Self {
        let mut message = Message::new();
        fill(&mut message);
        self.0.push((name, message));
        self
    }

    /// Loads bytes of the packet.
    fn payload(self, to: Register, header: u32, offset: u32, bytes: u32) -> Self {
        self.add("payload", |m| {
            m.u32(1, to.number()).u32(2, header).u32(3, offset).u32(4, bytes);
        })
    }

    /// Loads the address the packet comes from.
    pub(crate) fn source(self, to: Register) -> Self {
        self.payload(to, NETWORK, 12, 4)
    }

    /// Loads the address the packet goes to.
    pub(crate) fn destination(self, to: Register) -> Self {
        self.payload(to, NETWORK, 16, 4)
    }

    /// Loads the port the packet goes to.
    pub(crate) fn port(self, to: Register) -> Self {
        self.payload(to, TRANSPORT, 2, 2)
    }

    /// Loads a property.
    pub(crate) fn meta(self, to: Register, key: Meta) -> Self {
        self.add("meta", |m| {
            m.u32(1, to.number()).u32(2, key as u32);
        })
    }

    /// Stores the mark.
    pub(crate) fn set_mark(self, from: Register) -> Self {
        self.add("meta", |m| {
            m.u32(2, Meta::Mark as u32).u32(3, from.number());
        })
    }

    /// Keeps the bits of `mask` and flips those of `flip`. Numbers are in the machine's own order.
    pub(crate) fn bits(self, register: Register, mask: u32, flip: u32) -> Self {
        self.bit_bytes(register, mask.to_ne_bytes(), flip.to_ne_bytes())
    }

    /// Keeps the bits of a network mask.
    pub(crate) fn mask(self, register: Register, mask: Ipv4Addr) -> Self {
        self.bit_bytes(register, mask.octets(), [0; 4])
    }

    /// Keeps and flips bits.
    fn bit_bytes(self, register: Register, mask: [u8; 4], flip: [u8; 4]) -> Self {
        self.add("bitwise", |m| {
            m.u32(1, register.number()).u32(2, register.number()).u32(3, 4);
            m.data(4, &mask).data(5, &flip);
        })
    }

    /// Goes on only when the register holds exactly this.
    pub(crate) fn equal(self, register: Register, value: &[u8]) -> Self {
        self.compare(register, 0, value)
    }

    /// Goes on only when the register holds something else.
    pub(crate) fn unequal(self, register: Register, value: &[u8]) -> Self {
        self.compare(register, 1, value)
    }

    /// Compares.
    fn compare(self, register: Register, operator: u32, value: &[u8]) -> Self {
        self.add("cmp", |m| {
            m.u32(1, register.number()).u32(2, operator).data(3, value);
        })
    }

    /// Loads a constant.
    pub(crate) fn constant(self, to: Register, value: &[u8]) -> Self {
        self.add("immediate", |m| {
            m.u32(1, to.number()).data(2, value);
        })
    }

    /// Goes on only when the key is in the set.
    pub(crate) fn contained(self, set: &str, key: Register) -> Self {
        self.add("lookup", |m| {
            m.text(1, set).u32(2, key.number());
        })
    }

    /// Loads a map's value; goes on only when there is one.
    pub(crate) fn lookup(self, map: &str, key: Register, to: Register) -> Self {
        self.add("lookup", |m| {
            m.text(1, map).u32(2, key.number()).u32(3, to.number());
        })
    }

    /// Does what a map says.
    pub(crate) fn dispatch(self, map: &str, key: Register) -> Self {
        self.add("lookup", |m| {
            m.text(1, map).u32(2, key.number()).u32(3, 0);
        })
    }

    /// Does what the verdict says.
    pub(crate) fn verdict(self, verdict: &Verdict) -> Self {
        self.add("immediate", |m| {
            m.u32(1, 0).verdict(2, verdict);
        })
    }

    /// Loads a random number below `modulus`, in the machine's own order.
    pub(crate) fn random(self, to: Register, modulus: u32) -> Self {
        self.add("numgen", |m| {
            m.u32(1, to.number()).u32(2, modulus).u32(3, 1).u32(4, 0);
        })
    }

    /// Goes on only when the packet goes to an address of this host.
    pub(crate) fn local_destination(self, scratch: Register) -> Self {
        const LOCAL: u32 = 2;
        let loaded = self.add("fib", |m| {
            m.u32(1, scratch.number()).u32(2, 3).u32(3, 2);
        });
        loaded.equal(scratch, &LOCAL.to_ne_bytes())
    }

    /// Adds a key with a value to a map, or takes it out, for as many milliseconds.
    pub(crate) fn remember(self, map: &str, key: Register, value: Register, millis: u64) -> Self {
        self.dynamic(map, 1, (key, value), Some(millis))
    }

    /// Takes a key out of a map.
    pub(crate) fn forget(self, map: &str, key: Register, value: Register) -> Self {
        self.dynamic(map, 2, (key, value), None)
    }

    /// Changes a map from within the packet path.
    fn dynamic(
        self,
        map: &str,
        operation: u32,
        (key, value): (Register, Register),
        millis: Option<u64>,
    ) -> Self {
        self.add("dynset", |m| {
            m.text(1, map).u32(3, operation).u32(4, key.number()).u32(5, value.number());
            if let Some(millis) = millis {
                m.u64(6, millis);
            }
        })
    }

    /// Sends the connection to another address and port.
    pub(crate) fn redirect(self, address: Register, port: Register) -> Self {
        self.add("nat", |m| {
            m.u32(1, 1).u32(2, 2).u32(3, address.number()).u32(5, port.number());
        })
    }

    /// Gives the connection this host's address as its source.
    pub(crate) fn masquerade(self) -> Self {
        const FULLY_RANDOM: u32 = 0x10;
        self.add("masq", |m| {
            m.u32(1, FULLY_RANDOM);
        })
    }

    /// Refuses the packet: port unreachable.
    pub(crate) fn reject(self) -> Self {
        self.add("reject", |m| {
            m.u32(1, 0).raw(2, &[3]);
        })
    }
}
