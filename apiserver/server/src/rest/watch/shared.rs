//! Encoded events that watchers share: with a thousand watchers of one form, a change is encoded once.
//!
//! A small table with one slot per hash: a newer event simply takes the slot of an older one, so it needs no
//! eviction, no bookkeeping, and no lock that more than a few watchers meet at.

use bytes::Bytes;
use parking_lot::Mutex;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::encode::Kind;
use crate::negotiate::{Encoding, Shape};

/// Slots of the table.
const SLOTS: usize = 1024;

/// What an encoded event depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The change.
    pub revision: i64,
    /// The object.
    pub object: Bytes,
    /// What it is to the watcher.
    pub kind: Kind,
    /// The version that is watched.
    pub version: String,
    /// The bytes' form.
    pub encoding: Encoding,
    /// What is shown.
    pub shape: Shape,
    /// What of the object a table row carries.
    pub include: Include,
}

/// `includeObject` of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Include {
    /// Nothing.
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// All.
    Object,
}

/// The table.
pub struct SharedEvents {
    slots: Vec<Mutex<Option<(Key, Bytes)>>>,
}

impl Default for SharedEvents {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }
}

impl SharedEvents {
    /// The encoded event, made now if nobody has made it before.
    pub fn get(&self, key: Key, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % SLOTS as u64).unwrap_or(0);
        if let Some((held, bytes)) = &*self.slots[at].lock()
            && *held == key
        {
            return bytes.clone();
        }
        let bytes = encode();
        *self.slots[at].lock() = Some((key, bytes.clone()));
        bytes
    }
}
