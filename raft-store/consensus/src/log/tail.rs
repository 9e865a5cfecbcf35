//! The newest entries, in memory: those not yet on disk, and as many older ones as fit, because
//! replication and the state machine read what has just been written.

use std::collections::VecDeque;

use crate::types::{RaftEntry, RaftPayload};

/// Bytes of entries kept once they are on disk.
const BYTES: usize = 16 << 20;
/// What an entry costs beside its payload.
const OVERHEAD: usize = 96;

/// Entries without a gap, the newest at the back.
#[derive(Default)]
pub(super) struct Tail {
    entries: VecDeque<RaftEntry>,
    bytes: usize,
    /// Entries below this index are on disk.
    durable: u64,
}

impl Tail {
    /// Index of the oldest entry here.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    /// Adds entries that follow the newest.
    pub(super) fn push(&mut self, entries: &[RaftEntry]) {
        let next = self.entries.back().map(|entry| entry.log_id.index + 1);
        let start = entries.first().map(|entry| entry.log_id.index);
        if let (Some(next), Some(start)) = (next, start)
            && next != start
        {
            // Not a continuation (a snapshot jumped ahead): what was here is on disk or obsolete.
            self.entries.clear();
            self.bytes = 0;
        }
        for entry in entries {
            self.bytes += cost(entry);
            self.entries.push_back(entry.clone());
        }
    }

    /// Notes that entries below `next` are on disk, and forgets the oldest that no longer fit.
    pub(super) fn set_durable(&mut self, next: u64) {
        self.durable = self.durable.max(next);
        while self.bytes > BYTES {
            match self.entries.front() {
                Some(entry) if entry.log_id.index < self.durable => self.pop_front(),
                _ => break,
            }
        }
    }

    /// Forgets entries at and after `next`.
    pub(super) fn truncate(&mut self, next: u64) {
        while self.entries.back().is_some_and(|entry| entry.log_id.index >= next) {
            let entry = self.entries.pop_back().expect("the back was just seen");
            self.bytes -= cost(&entry);
        }
        self.durable = self.durable.min(next);
    }

    /// Forgets entries up to this index.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= upto) {
            self.pop_front();
        }
    }

    /// Entries in `[start, end)`, at most `bytes` of them but at least one.
    pub(super) fn range(&self, start: u64, end: u64, bytes: usize) -> Vec<RaftEntry> {
        let Some(first) = self.first() else { return Vec::new() };
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut budget = bytes;
        let mut found = Vec::new();
        for entry in self.entries.iter().skip(skip) {
            if entry.log_id.index >= end || (budget < cost(entry) && !found.is_empty()) {
                break;
            }
            budget = budget.saturating_sub(cost(entry));
            found.push(entry.clone());
        }
        found
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= cost(&entry);
        }
    }
}

fn cost(entry: &RaftEntry) -> usize {
    OVERHEAD
        + match &entry.payload {
            RaftPayload::Normal(command) => command.0.len(),
            RaftPayload::Blank | RaftPayload::Membership(_) => 0,
        }
}
