//! Watches: the applier publishes every revision's changes once; they wait in memory for those
//! who follow them.
//!
//! A *group* is all watchers of one range of keys. Each change is matched against the groups, not
//! against the watchers, and only the watchers of groups that it concerns are woken. A *watcher*
//! is a place in its group's queue; one that has fallen behind the queue reads history from disk
//! by itself until it is back.
//!
//! ```text
//! applier ─▶ Hub::publish ─▶ ring (newest events, for groups to come)
//!                 │ match
//!                 ├─▶ group "/pods/"   queue ◀─ watcher, watcher
//!                 └─▶ group "/leases/" queue ◀─ watcher … behind: history from disk
//! ```
//!
//! The published revision is set after the queues: a watcher that sees revision 7 published and
//! nothing in its queue has everything up to 7.

mod group;
mod history;
mod hub;
mod spec;
mod watcher;

#[cfg(test)]
mod tests;

pub(crate) use hub::Hub;
pub use spec::{WatchBatch, WatchEvent, WatchSpec};
pub(crate) use watcher::Tracker;
pub use watcher::Watcher;

/// All changes of one revision, or those of them that concern one group.
#[derive(Debug)]
pub(crate) struct EventBatch {
    /// The revision.
    pub(crate) revision: i64,
    /// In the order in which they were made; never empty.
    pub(crate) events: Vec<WatchEvent>,
    /// Bytes that it keeps in memory, roughly.
    pub(crate) bytes: usize,
}

impl EventBatch {
    /// The changes of a revision.
    pub(crate) fn new(revision: i64, events: Vec<WatchEvent>) -> Self {
        let bytes = events.iter().map(WatchEvent::bytes).sum();
        Self { revision, events, bytes }
    }
}
