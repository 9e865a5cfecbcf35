//! What a register allows.

use crate::history::{Action, Operation, Outcome, Seen};

/// A register between two operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Register {
    /// Its value, and the revision that wrote it unless nobody has seen that.
    now: Option<(u64, Option<i64>)>,
    /// The highest revision that is known to have changed it.
    floor: i64,
}

impl Register {
    /// The register after an operation; nothing if that cannot have happened here.
    pub(super) fn after(self, operation: &Operation) -> Option<Self> {
        let revision = operation.outcome.revision();
        match (operation.action, operation.outcome) {
            (Action::Get, Outcome::Read(seen)) => self.observed(seen),
            (Action::Put(value), Outcome::Written(_) | Outcome::Unknown) => {
                self.changed(Some(value), revision)
            }
            (Action::Delete, Outcome::Nothing) => self.observed(None),
            (Action::Delete, Outcome::Deleted { old, .. }) => {
                self.observed(Some(old))?.changed(None, revision)
            }
            // Without anything to delete it would change nothing.
            (Action::Delete, Outcome::Unknown) => self.now.and_then(|_| self.changed(None, None)),
            (action, Outcome::Written(_) | Outcome::Unknown) => {
                let new = action.writes()?;
                self.compared(action)?.changed(Some(new), revision)
            }
            (action, Outcome::Refused(seen)) => {
                action.writes()?;
                let observed = self.observed(seen)?;
                observed.compared(action).is_none().then_some(observed)
            }
            _ => None,
        }
    }

    /// If it is what somebody saw: itself, with the revision that they saw.
    fn observed(self, seen: Option<Seen>) -> Option<Self> {
        match (self.now, seen) {
            (None, None) => Some(self),
            (Some((value, revision)), Some(seen)) if value == seen.value => {
                self.dated(value, revision, seen.revision)
            }
            _ => None,
        }
    }

    /// If its value may have been written at a revision: itself with that one.
    fn dated(self, value: u64, revision: Option<i64>, wanted: i64) -> Option<Self> {
        match revision {
            Some(revision) => (revision == wanted).then_some(self),
            None if wanted <= self.floor => None,
            None => Some(Self { now: Some((value, Some(wanted))), floor: wanted }),
        }
    }

    /// If a swap's condition may hold: itself, with what follows from that.
    fn compared(self, action: Action) -> Option<Self> {
        match (action, self.now) {
            (Action::SwapValue { expected, .. }, Some((value, _))) => {
                (expected == value).then_some(self)
            }
            (Action::SwapRevision { expected: 0, .. }, now) => now.is_none().then_some(self),
            (Action::SwapRevision { expected, .. }, Some((value, revision))) => {
                self.dated(value, revision, expected)
            }
            _ => None,
        }
    }

    /// After a change: revisions only grow.
    fn changed(self, value: Option<u64>, revision: Option<i64>) -> Option<Self> {
        let floor = revision.unwrap_or(self.floor);
        let grows = revision.is_none_or(|revision| revision > self.floor);
        grows.then_some(Self { now: value.map(|value| (value, revision)), floor })
    }
}
