//! What consensus asks of the program that it keeps equal on all members.

use std::{io, path::Path};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, Member};

/// The replicated state. Calls come from one task, in log order; they may block.
///
/// `meta` is opaque here as everywhere: it says how far the state has come, and must be written
/// in the same batch as the entries it belongs to.
pub trait StateMachine: Send + Sync + 'static {
    /// The `meta` of the last apply or install, flushed or not.
    fn meta(&self) -> io::Result<Option<Bytes>>;
    /// Applies entries in order. Must not depend on anything but the state and the entries.
    fn apply(&self, entries: Vec<Entry>, meta: Bytes) -> io::Result<()>;
    /// The `meta` that a crash now would leave behind: the log is kept from there on.
    fn flushed_meta(&self) -> io::Result<Option<Bytes>>;
    /// Makes the applied state durable.
    fn flush(&self) -> io::Result<()>;
    /// Writes a copy of the state, `meta` included, into `dir`, which does not exist yet.
    fn checkpoint(&self, dir: &Path) -> io::Result<()>;
    /// Replaces the state by the copy in `dir`. The caller deletes `dir` afterwards.
    fn install(&self, dir: &Path) -> io::Result<()>;
    /// How far the state has come, and a hash over everything that led there, never 0; members
    /// compare them. None when it is not known.
    fn digest(&self) -> Option<(u64, u64)> {
        None
    }
    /// The hash as it was at a position a little while ago.
    fn digest_at(&self, _index: u64) -> Option<u64> {
        None
    }
}

/// One committed entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position in the log.
    pub index: u64,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// What it says.
    pub payload: Payload,
}

/// What a log entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A new leader's first entry.
    Blank,
    /// A proposal.
    Normal(Bytes),
    /// The members from here on.
    Membership(Vec<Member>),
}

/// What the leader answers to [`Handle::call_leader`](crate::Handle::call_leader): for state that
/// only the leader keeps, such as when leases run out.
#[async_trait]
pub trait LeaderService: Send + Sync + 'static {
    /// Runs on the member that leads; [`Error::NotLeader`] makes the caller look again.
    async fn call(&self, request: Bytes) -> Result<Bytes, Error>;
    /// Answers [`Handle::ask_member`](crate::Handle::ask_member): runs on that very member,
    /// whether it leads or not.
    async fn ask(&self, _request: Bytes) -> Result<Bytes, Error> {
        Err(Error::Remote("a question that this member does not know".to_owned()))
    }
}
