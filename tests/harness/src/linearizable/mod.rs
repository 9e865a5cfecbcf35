//! Whether a history of registers is linearizable: whether each operation can be thought to have
//! happened at one moment between its call and its answer, one after the other.
//!
//! The search is Wing and Gong's with Lowe's memory: calls and returns in a linked list in order of
//! time; take any operation whose call comes before the first return and that the register allows;
//! go back when a return comes whose operation was not taken; never visit the same pair of taken
//! operations and register twice. Linearizability is local, so each key is searched by itself.

mod model;
#[cfg(test)]
mod tests;

use crate::history::{Operation, Outcome};
use model::Register;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// Steps between looks at the clock.
const STEPS: u64 = 1024;
/// Visited pairs that are remembered at most; a search that needs more gives up.
const VISITED: usize = 400_000;
/// The list's end and beginning.
const END: usize = 0;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none; says how far the best one came.
    Violation(String),
    /// The search was too long. This is no success.
    Unknown,
}

/// Looks for an order of each key's operations, for so long altogether.
pub fn check(operations: &[Operation], patience: Duration) -> Verdict {
    let end = Instant::now() + patience;
    let mut keys: BTreeMap<usize, Vec<Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(operation.key).or_default().push(*operation);
    }
    let mut all = Verdict::Linearizable;
    for operations in keys.values() {
        match Search::new(operations).run(end) {
            Verdict::Linearizable => {}
            violation @ Verdict::Violation(_) => return violation,
            Verdict::Unknown => all = Verdict::Unknown,
        }
    }
    all
}

/// A call or a return in the list.
#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    /// Of a call whose operation has an answer: the return.
    answer: Option<usize>,
    is_return: bool,
    before: usize,
    after: usize,
}

/// The search on one register.
struct Search<'a> {
    operations: &'a [Operation],
    /// The list; the first is its end.
    events: Vec<Event>,
    /// Which operations were taken, as bits.
    taken: Vec<u64>,
    register: Register,
    /// Calls that were taken, each with the register before.
    path: Vec<(usize, Register)>,
    /// Operations with an answer that were not taken.
    left: usize,
    /// The longest path: its length, the register after it, and who could not be taken.
    deepest: (usize, Register, usize),
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Self {
        let mut moments = Vec::new();
        let mut left = 0;
        for (at, operation) in operations.iter().enumerate() {
            moments.push((operation.called, false, at));
            if operation.outcome != Outcome::Unknown {
                moments.push((operation.returned, true, at));
                left += 1;
            }
        }
        // At the same moment calls come first: the operations overlap.
        moments.sort_unstable();
        let count = moments.len() + 1;
        let end = Event {
            operation: usize::MAX,
            answer: None,
            is_return: true,
            before: count - 1,
            after: 1 % count,
        };
        let mut events = vec![end];
        let mut calls = vec![END; operations.len()];
        for (at, (_, is_return, operation)) in moments.into_iter().enumerate() {
            let place = at + 1;
            let after = (place + 1) % count;
            events.push(Event { operation, answer: None, is_return, before: at, after });
            match is_return {
                true => events[calls[operation]].answer = Some(place),
                false => calls[operation] = place,
            }
        }
        Self {
            operations,
            events,
            taken: vec![0; operations.len().div_ceil(64)],
            register: Register::default(),
            path: Vec::new(),
            left,
            deepest: (0, Register::default(), 0),
        }
    }

    fn run(mut self, end: Instant) -> Verdict {
        let mut visited: HashSet<(Vec<u64>, Register)> = HashSet::new();
        let mut at = self.events[END].after;
        let mut steps = 0u64;
        while self.left > 0 {
            steps += 1;
            if visited.len() > VISITED || (steps.is_multiple_of(STEPS) && Instant::now() > end) {
                return Verdict::Unknown;
            }
            let event = self.events[at];
            if event.is_return {
                self.note(event.operation);
                match self.put_back() {
                    Some(call) => at = self.events[call].after,
                    None => return Verdict::Violation(self.explain()),
                }
                continue;
            }
            let next = self.register.after(&self.operations[event.operation]);
            let call = std::mem::replace(&mut at, event.after);
            let Some(next) = next else { continue };
            let (word, bit) = (event.operation / 64, 1 << (event.operation % 64));
            self.taken[word] |= bit;
            if visited.insert((self.taken.clone(), next)) {
                self.take(call, next);
                at = self.events[END].after;
            } else {
                self.taken[word] &= !bit;
            }
        }
        Verdict::Linearizable
    }

    /// Takes a call and its return out of the list.
    fn take(&mut self, call: usize, next: Register) {
        self.path.push((call, self.register));
        self.register = next;
        self.unlink(call);
        if let Some(answer) = self.events[call].answer {
            self.unlink(answer);
            self.left -= 1;
        }
    }

    /// Undoes the last taking; gives its call.
    fn put_back(&mut self) -> Option<usize> {
        let (call, register) = self.path.pop()?;
        self.register = register;
        if let Some(answer) = self.events[call].answer {
            self.relink(answer);
            self.left += 1;
        }
        self.relink(call);
        let operation = self.events[call].operation;
        self.taken[operation / 64] &= !(1 << (operation % 64));
        Some(call)
    }

    fn unlink(&mut self, at: usize) {
        let Event { before, after, .. } = self.events[at];
        self.events[before].after = after;
        self.events[after].before = before;
    }

    fn relink(&mut self, at: usize) {
        let Event { before, after, .. } = self.events[at];
        self.events[before].after = at;
        self.events[after].before = at;
    }

    /// Remembers who could not be taken, if nobody came further.
    fn note(&mut self, operation: usize) {
        if self.path.len() >= self.deepest.0 {
            self.deepest = (self.path.len(), self.register, operation);
        }
    }

    fn explain(&self) -> String {
        let (length, register, stuck) = self.deepest;
        let stuck = &self.operations[stuck];
        let near = |one: &&Operation| {
            one.called <= stuck.returned
                && (one.outcome == Outcome::Unknown || one.returned >= stuck.called)
        };
        let near: Vec<String> =
            self.operations.iter().filter(near).map(|one| format!("  {one:?}")).collect();
        let all = self.operations.len();
        let near = near.join("\n");
        format!(
            "after {length} of {all} operations {register:?} does not explain {stuck:?}; \
             beside it:\n{near}"
        )
    }
}
