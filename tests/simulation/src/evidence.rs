//! What a run leaves behind for the invariants: plain observations, in the order in which they
//! were made. Nothing here judges.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use harness::history::Operation;
use parking_lot::Mutex;
use proto::peer::Membership;

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Virtual milliseconds since the start.
    pub now: u64,
    /// Counts moments: one thing came before another exactly if its number is lower.
    pub moment: u64,
    /// Who was seen or said to lead.
    pub leaders: Vec<Leader>,
    /// Members that were first seen to lead a term, with their logs.
    pub offices: Vec<Office>,
    /// Entries as they were written to logs.
    pub stored: Vec<Stored>,
    /// Entries that a member knew to be committed.
    pub committed: Vec<Committed>,
    /// Hashes over all that led to a state.
    pub digests: Vec<Digest>,
    /// What clients did to registers.
    pub operations: Vec<Operation>,
    /// Reads of the two keys that are always written together.
    pub pairs: Vec<Pair>,
    /// Revisions in answers.
    pub headers: Vec<Header>,
    /// What watches delivered.
    pub watches: Vec<Watch>,
    /// What became of leases.
    pub leases: Vec<Lease>,
    /// Members that somebody wanted to add or remove.
    pub changes: Vec<Change>,
    /// What each member held in the end.
    pub finals: Vec<Final>,
    /// The fastest clock of all members, as a multiple of true time.
    pub fastest: f64,
    /// What should have happened in the end and did not.
    pub stuck: Vec<String>,
}

/// A member said that somebody leads a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// When.
    pub at: u64,
    /// Who said so.
    pub witness: usize,
    /// The term.
    pub term: u64,
    /// Who leads it.
    pub leader: u64,
}

/// A member's log when it was first seen to lead a term.
#[derive(Debug, Clone)]
pub struct Office {
    /// When.
    pub at: u64,
    /// Its id.
    pub leader: u64,
    /// The term.
    pub term: u64,
    /// Index of its first entry.
    pub first: u64,
    /// The terms of its entries.
    pub terms: Vec<u64>,
}

/// An entry on its way into a log.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Whose log.
    pub member: usize,
    /// Its place.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The term of the entry before it, if that is still there.
    pub before: Option<u64>,
    /// A hash over all of it.
    pub hash: u64,
    /// The members from there on, if it says so.
    pub config: Option<Membership>,
}

/// An entry that a member knew to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// When it was seen.
    pub at: u64,
    /// By whom.
    pub member: usize,
    /// Its place.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// A hash over all that led to a member's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Whose.
    pub member: usize,
    /// The last entry applied.
    pub index: u64,
    /// The hash.
    pub digest: u64,
}

/// One read of two keys that are always written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Through whom.
    pub member: usize,
    /// The first key's value.
    pub one: Option<u64>,
    /// The second key's value.
    pub other: Option<u64>,
}

/// The revision in a linearizable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose answer.
    pub member: usize,
    /// The moment of the call.
    pub called: u64,
    /// The moment of the answer.
    pub returned: u64,
    /// The store's revision.
    pub revision: i64,
}

/// One watch, with all its resumptions.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// First letter of the keys that it follows; none is all keys.
    pub prefix: String,
    /// One after the other.
    pub segments: Vec<Segment>,
}

/// One stretch of a watch, at one member.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    /// Where.
    pub member: usize,
    /// The revision from which on it was asked for.
    pub start: i64,
    /// What came.
    pub batches: Vec<Batch>,
    /// History was gone up to there.
    pub compacted: Option<i64>,
}

/// What came at once.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Everything up to this revision has been delivered.
    pub upto: i64,
    /// The changes.
    pub events: Vec<Event>,
}

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision.
    pub revision: i64,
    /// The key.
    pub key: String,
    /// The new value; none: deleted.
    pub value: Option<String>,
}

/// A lease and its key.
#[derive(Debug, Clone, Default)]
pub struct Lease {
    /// Its id.
    pub id: i64,
    /// The key that hangs on it.
    pub key: String,
    /// Its time to live in milliseconds.
    pub ttl: u64,
    /// When grants and renewals were asked for that were then confirmed.
    pub confirmed: Vec<u64>,
    /// When somebody first saw its key deleted.
    pub gone: Option<u64>,
}

/// A wanted change of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Of whom.
    pub id: u64,
    /// Added, or removed.
    pub adds: bool,
    /// When it was acknowledged, if it was.
    pub done: Option<u64>,
}

/// What a member held in the end.
#[derive(Debug, Clone, Default)]
pub struct Final {
    /// Who.
    pub member: usize,
    /// Its revision.
    pub revision: i64,
    /// Keys, values and revisions of their last change.
    pub keys: Vec<(String, String, i64)>,
    /// Leases that are still there.
    pub leases: Vec<i64>,
    /// Ids of the members that it knows.
    pub members: BTreeSet<u64>,
}

/// Where observations go; cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    evidence: Arc<Mutex<Evidence>>,
}

impl Recorder {
    /// Adds to what is known.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Evidence) -> T) -> T {
        change(&mut self.evidence.lock())
    }

    /// The number of this moment.
    pub(crate) fn moment(&self) -> u64 {
        self.with(|evidence| {
            evidence.moment += 1;
            evidence.moment
        })
    }

    pub(crate) fn store(&self, stored: Stored) {
        self.with(|evidence| evidence.stored.push(stored));
    }

    /// Takes everything.
    pub(crate) fn take(&self) -> Evidence {
        std::mem::take(&mut self.evidence.lock())
    }
}

impl Evidence {
    /// Whether every watch of these keys has told all up to a revision.
    pub(crate) fn is_told(&self, prefix: &str, revision: i64) -> bool {
        let mut watches = self.watches.iter().filter(|watch| watch.prefix == prefix);
        watches.all(|watch| {
            let batches = watch.segments.iter().rev().flat_map(|segment| segment.batches.last());
            batches.map(|batch| batch.upto).max().is_some_and(|upto| upto >= revision)
        })
    }

    /// The committed entries: places and terms, as first seen.
    pub(crate) fn decided(&self) -> BTreeMap<u64, Committed> {
        let mut decided = BTreeMap::new();
        for one in &self.committed {
            decided.entry(one.index).or_insert(*one);
        }
        decided
    }
}
