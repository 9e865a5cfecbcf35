//! What the API server asks of a store: ordered keys with revisions, pages, watches, and one transaction per
//! write.
//!
//! A trait, because the store may be the one inside this process ([`embedded`]) or one over the network ([`etcd`]): no code above
//! knows which.

pub mod embedded;
pub mod etcd;
pub mod follow;
pub mod keys;
pub mod memory;

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The revision was compacted away; the oldest that can still be read is given.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision lies in the future.
    #[error("required revision is a future revision")]
    Future,
    /// More bytes than the store takes in one request.
    #[error("{0}")]
    TooLarge(String),
    /// Nobody leads, or no answer in time: asking again may help.
    #[error("{0}")]
    Unavailable(String),
    /// No answer in time; the write may still take effect.
    #[error("{0}")]
    Timeout(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// A stored object.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its key.
    pub key: Bytes,
    /// Its JSON, without `metadata.resourceVersion`.
    pub value: Bytes,
    /// Revision of its last change: the object's resourceVersion.
    pub revision: i64,
    /// The store lease that ends it; 0 is none.
    pub lease: i64,
}

/// One key as it was read.
#[derive(Debug, Clone)]
pub struct Got {
    /// The object, if there is one.
    pub item: Option<Item>,
    /// The store's revision at the reading.
    pub revision: i64,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// First key.
    pub start: Bytes,
    /// First key that no longer belongs.
    pub end: Bytes,
    /// At most so many items; 0 is all.
    pub limit: usize,
    /// As of this revision; 0 is now.
    pub revision: i64,
    /// Count only.
    pub count_only: bool,
}

/// One page of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In key order.
    pub items: Vec<Item>,
    /// The revision that the page shows.
    pub revision: i64,
    /// Whether the limit cut something off.
    pub more: bool,
    /// How many keys the whole range has.
    pub count: usize,
}

/// What must hold for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key's last change was at this revision; 0 is "does not exist".
    Revision(Bytes, i64),
    /// The key holds exactly this value.
    Value(Bytes, Bytes),
}

impl Compare {
    /// The key it looks at.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Revision(key, _) | Self::Value(key, _) => key,
        }
    }
}

/// One write: all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// Keys, values and store leases (0 is none) to set.
    pub puts: Vec<(Bytes, Bytes, i64)>,
    /// Keys to remove.
    pub deletes: Vec<Bytes>,
}

/// What became of a transaction.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Done, at this revision.
    Committed(i64),
    /// A compare failed; what the compared keys hold, in the order of the compares.
    Failed(Vec<Option<Item>>),
}

/// One change of a key.
#[derive(Debug, Clone)]
pub struct Event {
    /// The key.
    pub key: Bytes,
    /// When.
    pub revision: i64,
    /// The new value; `None` is a deletion.
    pub value: Option<Bytes>,
    /// The value before, and its revision.
    pub previous: Option<(Bytes, i64)>,
}

/// What a watch delivers.
#[derive(Debug, Clone)]
pub enum Batch {
    /// Changes in order; all up to `revision` are delivered now.
    Events {
        /// Every change up to here was delivered.
        revision: i64,
        /// Possibly none: then it is only progress.
        events: Vec<Event>,
    },
    /// The watch asked for history that is gone.
    Compacted,
}

/// An open watch. Dropping it ends it.
#[async_trait]
pub trait Watch: Send {
    /// The next changes; `None` at the end of the store. Safe to cancel.
    async fn next(&mut self) -> Option<Batch>;

    /// A revision up to which [`next`](Self::next) has delivered all there is, if the watch knows.
    fn progress(&self) -> Option<i64> {
        None
    }
}

/// A store.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// A linearizable point: later reads see everything that was committed before this call. Answers with the
    /// revision reached.
    async fn barrier(&self) -> Result<i64, Error>;
    /// The revision that reads see now.
    fn revision(&self) -> i64;
    /// Reads one key, as of now.
    async fn get(&self, key: &Bytes) -> Result<Got, Error>;
    /// Reads a range.
    async fn range(&self, range: Range) -> Result<Page, Error>;
    /// Writes.
    async fn txn(&self, txn: Txn) -> Result<Outcome, Error>;
    /// Watches `start..end` from a revision on (that revision included).
    async fn watch(&self, start: Bytes, end: Bytes, from: i64) -> Result<Box<dyn Watch>, Error>;
    /// A store lease that ends its keys after so many seconds, more or less.
    async fn lease(&self, seconds: i64) -> Result<i64, Error>;
    /// Gives a lease its whole time again. An error when it is over.
    async fn lease_keep_alive(&self, id: i64) -> Result<(), Error>;
    /// Ends a lease and its keys now. No error when it is over already.
    async fn lease_revoke(&self, id: i64) -> Result<(), Error>;
    /// Whether this replica leads the store, as it changes.
    fn leading(&self) -> tokio::sync::watch::Receiver<bool>;
    /// The store member that this replica is part of; 0 when it is part of none.
    fn member(&self) -> u64;
    /// Members whose process is proven dead, if the store can tell.
    fn peer_down(&self) -> Option<tokio::sync::broadcast::Receiver<u64>> {
        None
    }
}

/// A store that everything shares.
pub type Shared = Arc<dyn Storage>;
