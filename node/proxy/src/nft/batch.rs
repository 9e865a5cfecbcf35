//! One transaction: messages between a begin and an end, each with a label for the error that it
//! may cause.

use super::expr::Expressions;
use super::message::{Message, Verdict};
use std::borrow::Cow;

/// Netfilter's subsystem of nf_tables.
const SUBSYSTEM: u16 = 10;
/// The address family: IPv4.
const FAMILY: u8 = 2;
/// Begins a transaction.
const BEGIN: u16 = 0x10;
/// Ends it.
const END: u16 = 0x11;
/// A request, as opposed to an answer.
const REQUEST: u16 = 1;
/// The kernel shall say when it is done.
const ACK: u16 = 4;
/// Make what is not there.
const CREATE: u16 = 0x400;
/// Put it at the end.
const APPEND: u16 = 0x800;
/// Elements per message: an attribute is at most 64 KiB long, an element less than 128 bytes.
const ELEMENTS: usize = 400;

/// Message types of nf_tables.
mod kind {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const GET_TABLE: u16 = 1;
    pub(super) const DEL_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const NEW_ELEMENT: u16 = 12;
    pub(super) const DEL_ELEMENT: u16 = 14;
}

/// A set or map to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetSpec {
    /// Its name.
    pub(crate) name: &'static str,
    /// Flags of the kernel.
    pub(crate) flags: u32,
    /// What a key is, for those who list the table.
    pub(crate) key_type: u32,
    /// Bytes of a key.
    pub(crate) key_bytes: u32,
    /// What a map's value is, and its bytes.
    pub(crate) data: Option<(u32, u32)>,
    /// Most elements, where packets themselves add them.
    pub(crate) limit: Option<u32>,
}

/// An element of a set or map.
pub(crate) struct Element {
    /// Its key.
    pub(crate) key: Vec<u8>,
    /// A map's value.
    pub(crate) value: Value,
}

/// A map's value.
pub(crate) enum Value {
    /// None: the set is no map, or the element is to be deleted.
    None,
    /// Bytes.
    Bytes(Vec<u8>),
    /// What happens to the packet.
    Verdict(Verdict),
}

impl Element {
    /// Writes its attributes.
    fn write(&self, message: &mut Message) {
        message.data(1, &self.key);
        match &self.value {
            Value::None => {}
            Value::Bytes(bytes) => drop(message.data(2, bytes)),
            Value::Verdict(verdict) => drop(message.verdict(2, verdict)),
        }
    }
}

/// A transaction in the making.
pub(crate) struct Batch {
    table: String,
    /// Type, flags, payload.
    messages: Vec<(u16, u16, Vec<u8>)>,
    labels: Vec<Cow<'static, str>>,
    sets: u32,
}

impl Batch {
    /// An empty transaction on one table.
    pub(crate) fn new(table: &str) -> Self {
        Self { table: table.to_owned(), messages: Vec::new(), labels: Vec::new(), sets: 0 }
    }

    /// Whether nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Makes the table; one that is there stays.
    pub(crate) fn new_table(&mut self) {
        let mut message = Message::new();
        message.text(1, &self.table).u32(2, 0);
        self.push(kind::NEW_TABLE, CREATE, &message, "make the table");
    }

    /// Deletes the table with all that is in it.
    pub(crate) fn delete_table(&mut self) {
        let mut message = Message::new();
        message.text(1, &self.table);
        self.push(kind::DEL_TABLE, 0, &message, "delete the table");
    }

    /// Makes a chain that other chains call.
    pub(crate) fn chain(&mut self, name: &str) {
        let mut message = Message::new();
        message.text(1, &self.table).text(3, name);
        self.push(kind::NEW_CHAIN, CREATE, &message, format!("make chain {name}"));
    }

    /// Makes a chain that the kernel calls for every packet at a hook.
    pub(crate) fn base_chain(&mut self, name: &str, sort: &str, hook: u32, priority: i32) {
        let mut message = Message::new();
        message.text(1, &self.table).text(3, name);
        message.nest(4, |place| {
            place.u32(1, hook).u32(2, priority.cast_unsigned());
        });
        message.text(7, sort);
        self.push(kind::NEW_CHAIN, CREATE, &message, format!("make chain {name} ({sort})"));
    }

    /// Adds a rule at the end of a chain.
    pub(crate) fn rule(&mut self, chain: &str, expressions: &Expressions) {
        let mut message = Message::new();
        message.text(1, &self.table).text(2, chain);
        message.nest(4, |list| {
            for (name, data) in expressions.list() {
                list.nest(1, |one| {
                    one.text(1, name).raw(2 | 0x8000, data.bytes());
                });
            }
        });
        let names: Vec<&str> = expressions.list().map(|(name, _)| name).collect();
        let label = format!("add a rule to chain {chain} ({})", names.join(" "));
        self.push(kind::NEW_RULE, CREATE | APPEND, &message, label);
    }

    /// Makes a set or map.
    pub(crate) fn set(&mut self, spec: &SetSpec) {
        self.sets += 1;
        let mut message = Message::new();
        message.text(1, &self.table).text(2, spec.name).u32(3, spec.flags);
        message.u32(4, spec.key_type).u32(5, spec.key_bytes);
        if let Some((kind, bytes)) = spec.data {
            message.u32(6, kind).u32(7, bytes);
        }
        if let Some(limit) = spec.limit {
            message.nest(9, |description| {
                description.u32(1, limit);
            });
        }
        message.u32(10, self.sets);
        self.push(kind::NEW_SET, CREATE, &message, format!("make set {}", spec.name));
    }

    /// Adds elements to a set or map.
    pub(crate) fn add(&mut self, set: &str, elements: &[Element]) {
        self.elements(kind::NEW_ELEMENT, CREATE, set, elements, "add to");
    }

    /// Deletes elements of a set or map, which must be there.
    pub(crate) fn delete(&mut self, set: &str, elements: &[Element]) {
        self.elements(kind::DEL_ELEMENT, 0, set, elements, "delete from");
    }

    /// Elements in as many messages as they need.
    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[Element], verb: &str) {
        for some in elements.chunks(ELEMENTS) {
            let mut message = Message::new();
            message.text(1, &self.table).text(2, set);
            message.nest(3, |list| {
                for element in some {
                    list.nest(1, |one| element.write(one));
                }
            });
            self.push(kind, flags, &message, format!("{verb} set {set}"));
        }
    }

    /// Adds a message.
    fn push(
        &mut self,
        kind: u16,
        flags: u16,
        message: &Message,
        label: impl Into<Cow<'static, str>>,
    ) {
        self.messages.push((SUBSYSTEM << 8 | kind, flags, message.bytes().to_vec()));
        self.labels.push(label.into());
    }

    /// The bytes of the whole transaction, whose begin has the number `first`, and the labels of
    /// its messages.
    pub(super) fn finish(self, first: u32) -> (Vec<u8>, Vec<Cow<'static, str>>) {
        let size: usize = self.messages.iter().map(|(_, _, payload)| payload.len() + 20).sum();
        let mut bytes = Vec::with_capacity(size + 40);
        let mut sequence = first;
        header(&mut bytes, (BEGIN, REQUEST), sequence, (0, SUBSYSTEM), &[]);
        let last = self.messages.len();
        for (at, (kind, flags, payload)) in self.messages.into_iter().enumerate() {
            sequence += 1;
            // One answer for all: failures are told in any case.
            let ack = if at + 1 == last { ACK } else { 0 };
            header(&mut bytes, (kind, REQUEST | flags | ack), sequence, (FAMILY, 0), &payload);
        }
        header(&mut bytes, (END, REQUEST), sequence + 1, (0, SUBSYSTEM), &[]);
        (bytes, self.labels)
    }
}

/// The bytes of a question for a table.
pub(super) fn get_table(table: &str, sequence: u32) -> Vec<u8> {
    let mut message = Message::new();
    message.text(1, table);
    let mut bytes = Vec::new();
    let kind = SUBSYSTEM << 8 | kind::GET_TABLE;
    header(&mut bytes, (kind, REQUEST), sequence, (FAMILY, 0), message.bytes());
    bytes
}

/// Adds one message: netlink's header, netfilter's header, payload.
fn header(
    bytes: &mut Vec<u8>,
    (kind, flags): (u16, u16),
    sequence: u32,
    (family, resource): (u8, u16),
    payload: &[u8],
) {
    let length = u32::try_from(20 + payload.len()).expect("messages are kept below 64 KiB");
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    bytes.extend_from_slice(payload);
}
