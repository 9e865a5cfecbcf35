//! What a watch asks for and what it gets.

use std::sync::Arc;

use bytes::Bytes;
use proto::mvccpb::KeyValue;

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct WatchSpec {
    /// First key.
    pub key: Bytes,
    /// First key that no longer belongs; empty is `key` alone, a zero byte is everything from
    /// `key` on.
    pub range_end: Bytes,
    /// Events from this revision on, it included; 0 is from now on.
    pub start_revision: i64,
    /// Whether events shall carry what was before.
    pub prev_kv: bool,
    /// Leaves out new values.
    pub no_put: bool,
    /// Leaves out deletions.
    pub no_delete: bool,
}

/// What a watch delivers.
#[derive(Debug, Clone)]
pub enum WatchBatch {
    /// Changes in order: all those of the revisions they belong to.
    Events {
        /// Everything in the range up to here has been delivered with this batch.
        revision: i64,
        /// Never empty.
        events: Vec<WatchEvent>,
    },
    /// The watch asked for history that is gone, and ends. History begins at this revision.
    Compacted(i64),
}

/// One change of one key. Cloning shares it.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchEvent {
    /// The new value; of a deletion, only the key and the revision.
    pub kv: Arc<KeyValue>,
    /// The value before, where there was one, it is still known and the watch asked for it.
    pub prev: Option<Arc<KeyValue>>,
    /// Whether the key was deleted.
    pub deleted: bool,
}

impl WatchEvent {
    /// Bytes that it keeps in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        64 + self.kv.key.len() + self.kv.value.len()
    }
}
