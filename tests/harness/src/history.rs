//! What clients did to registers and what they were told: the material of a check for
//! linearizability.
//!
//! Each key of a store is a register. A write whose answer never came may have happened at any time
//! after its call, or never. [`settled`] resolves such writes by what others saw, which keeps the
//! search for an order short.

use std::collections::{BTreeMap, BTreeSet};

/// What a client asked of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reads it.
    Get,
    /// Writes a value.
    Put(u64),
    /// Makes it absent.
    Delete,
    /// Writes a value if it holds another one.
    SwapValue {
        /// What it must hold.
        expected: u64,
        /// What is written.
        new: u64,
    },
    /// Writes a value if it was last modified at a revision.
    SwapRevision {
        /// The revision; 0: it must be absent.
        expected: i64,
        /// What is written.
        new: u64,
    },
}

impl Action {
    /// The value that it writes.
    pub fn writes(self) -> Option<u64> {
        match self {
            Self::Put(value) => Some(value),
            Self::SwapValue { new, .. } | Self::SwapRevision { new, .. } => Some(new),
            Self::Get | Self::Delete => None,
        }
    }
}

/// A register that is there, as a client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its value.
    pub value: u64,
    /// The revision that wrote it.
    pub revision: i64,
}

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What a get found; nothing: absent.
    Read(Option<Seen>),
    /// A put or a swap was done, at this revision.
    Written(i64),
    /// A swap was not done, because this was there.
    Refused(Option<Seen>),
    /// A deletion was done.
    Deleted {
        /// What was there.
        old: Seen,
        /// The deletion's revision.
        revision: i64,
    },
    /// A deletion found nothing.
    Nothing,
    /// No answer: it may or may not have happened, or may happen yet.
    Unknown,
}

impl Outcome {
    /// What it shows of the register before.
    pub fn seen(self) -> Option<Seen> {
        match self {
            Self::Read(seen) | Self::Refused(seen) => seen,
            Self::Deleted { old, .. } => Some(old),
            Self::Written(_) | Self::Nothing | Self::Unknown => None,
        }
    }

    /// The revision that it made.
    pub fn revision(self) -> Option<i64> {
        match self {
            Self::Written(revision) | Self::Deleted { revision, .. } => Some(revision),
            Self::Read(_) | Self::Refused(_) | Self::Nothing | Self::Unknown => None,
        }
    }
}

/// One request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: usize,
    /// Which register.
    pub key: usize,
    /// For what.
    pub action: Action,
    /// What came back.
    pub outcome: Outcome,
    /// Nanoseconds from the beginning of the history to the call.
    pub called: u64,
    /// The same to the answer; without meaning if there was none.
    pub returned: u64,
}

/// What is known of one register's values.
#[derive(Default)]
struct Known {
    /// Writes of each value.
    writers: BTreeMap<u64, usize>,
    /// Who saw a value first: when that returned, and the revision.
    seen: BTreeMap<u64, (u64, i64)>,
    /// Values that swaps ask for.
    expected: BTreeSet<u64>,
    /// Revisions that clients were told of.
    revisions: BTreeSet<i64>,
    /// Revisions that swaps ask for.
    expected_revisions: BTreeSet<i64>,
}

impl Known {
    fn add(&mut self, operation: &Operation) {
        if let Some(value) = operation.action.writes() {
            *self.writers.entry(value).or_default() += 1;
        }
        match operation.action {
            Action::SwapValue { expected, .. } => drop(self.expected.insert(expected)),
            Action::SwapRevision { expected, .. } if expected != 0 => {
                self.expected_revisions.insert(expected);
            }
            _ => {}
        }
        if let Some(seen) = operation.outcome.seen() {
            let first = (operation.returned, seen.revision);
            let entry = self.seen.entry(seen.value).or_insert(first);
            *entry = first.min(*entry);
            self.revisions.insert(seen.revision);
        }
        self.revisions.extend(operation.outcome.revision());
    }

    /// What an operation without an answer comes to; nothing if it explains nothing.
    fn settle(&self, operation: &Operation) -> Option<Operation> {
        let Some(value) = operation.action.writes() else {
            return (operation.action == Action::Delete).then_some(*operation);
        };
        if self.writers.get(&value) != Some(&1) {
            return Some(*operation);
        }
        if let Some((returned, revision)) = self.seen.get(&value) {
            let outcome = Outcome::Written(*revision);
            let returned = (*returned).max(operation.called);
            return Some(Operation { outcome, returned, ..*operation });
        }
        let asked =
            self.expected.contains(&value) || !self.expected_revisions.is_subset(&self.revisions);
        asked.then_some(*operation)
    }
}

/// The same history with fewer open ends. It is linearizable exactly if the other one is:
///
/// - a read without an answer says nothing;
/// - a write of a value that nobody else writes happened if anyone saw the value, at the revision
///   that they saw and before they were answered;
/// - if nobody saw it or asks for it, any order with it is as good without it: whoever finds
///   something in a register says what, so nobody came between it and the next change.
pub fn settled(operations: &[Operation]) -> Vec<Operation> {
    let mut known: BTreeMap<usize, Known> = BTreeMap::new();
    for operation in operations {
        known.entry(operation.key).or_default().add(operation);
    }
    let settle = |operation: &Operation| match operation.outcome {
        Outcome::Unknown => known[&operation.key].settle(operation),
        _ => Some(*operation),
    };
    operations.iter().filter_map(settle).collect()
}

/// Checks that no two changes got the same revision, and that a change which began after another
/// one was answered got a higher one, whatever their keys. Gives the pairs that break this.
pub fn disorder(operations: &[Operation]) -> Vec<(Operation, Operation)> {
    let mut by_call: Vec<(i64, Operation)> =
        operations.iter().filter_map(|one| Some((one.outcome.revision()?, *one))).collect();
    by_call.sort_by_key(|(_, one)| one.called);
    let mut by_return = by_call.clone();
    by_return.sort_by_key(|(_, one)| one.returned);
    let mut broken = Vec::new();
    let mut answered = by_return.iter().peekable();
    let mut highest: Option<&(i64, Operation)> = None;
    for (revision, one) in &by_call {
        while let Some(before) = answered.next_if(|(_, before)| before.returned < one.called) {
            highest = highest.into_iter().chain([before]).max_by_key(|(revision, _)| *revision);
        }
        broken.extend(highest.filter(|(before, _)| before >= revision).map(|(_, b)| (*b, *one)));
    }
    by_return.sort_by_key(|(revision, _)| *revision);
    let same = by_return.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    broken.extend(same.map(|pair| (pair[0].1, pair[1].1)));
    broken
}
