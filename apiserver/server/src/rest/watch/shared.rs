//! What watchers share: with a thousand watchers of one form, a change is encoded once; and when
//! their selectors look into objects (every node agent's does), an object is parsed once.
//!
//! A small table with one slot per hash: a newer event simply takes the slot of an older one, so it needs no
//! eviction, no bookkeeping, and no lock that more than a few watchers meet at.

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::encode::Kind;
use crate::negotiate::{Encoding, Shape};

/// Slots of the table.
const SLOTS: usize = 1024;
/// Slots for what selectors see of objects: as many as a busy watcher finds changes at once, or
/// the next watcher would have to parse them again.
const TREES: usize = 1024;

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

/// The tables.
pub struct SharedEvents {
    slots: Vec<Mutex<Option<(Key, Bytes)>>>,
    trees: Vec<Mutex<Option<Tree>>>,
}

/// What selectors see of a stored object: its key and revision, and the tree.
type Tree = (Bytes, i64, Arc<Value>);

impl Default for SharedEvents {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::new(None)).collect(),
            trees: (0..TREES).map(|_| Mutex::new(None)).collect(),
        }
    }
}

impl SharedEvents {
    /// What selectors see of what was stored under a key at a revision: parsed, and cut down by
    /// `visible`, if nobody has done it before; `None` when it can't be read.
    pub fn tree(
        &self,
        (key, revision): (&Bytes, i64),
        stored: &[u8],
        visible: impl FnOnce(Value) -> Value,
    ) -> Option<Arc<Value>> {
        let mut hasher = DefaultHasher::new();
        (key, revision).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % TREES as u64).unwrap_or(0);
        if let Some((held, of, tree)) = &*self.trees[at].lock()
            && held == key
            && *of == revision
        {
            return Some(tree.clone());
        }
        let tree = Arc::new(visible(serde_json::from_slice(stored).ok()?));
        *self.trees[at].lock() = Some((key.clone(), revision, Arc::clone(&tree)));
        Some(tree)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_parsed_once_for_all_watchers() {
        let shared = SharedEvents::default();
        let key = Bytes::from_static(b"/registry/pods/a/b");
        let all = |object| object;
        let one = shared.tree((&key, 1), b"{\"a\":1}", all).expect("readable");
        // Were it parsed again, it would be another tree.
        let again = shared.tree((&key, 1), b"{}", all).expect("kept");
        assert!(Arc::ptr_eq(&one, &again));
        let later = shared.tree((&key, 2), b"{\"a\":2}", all).expect("readable");
        assert_eq!(*later, json!({"a": 2}));
        assert!(shared.tree((&key, 3), b"no json", all).is_none());
    }
}
