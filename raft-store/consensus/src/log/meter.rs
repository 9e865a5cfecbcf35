//! How long writes of the log take: what a leader compares with its followers.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Writes that are remembered.
const WRITES: usize = 256;
/// How long they are.
const WINDOW: Duration = Duration::from_secs(10);
/// Fewer say nothing.
const ENOUGH: usize = 8;

/// Bounds of durations that are counted together, in milliseconds: each twice the one before.
const BOUNDS: usize = 14;

/// How long writes of the log took since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fsyncs {
    /// Writes that took at most 1, 2, 4, … 8192 ms, and were slower than the bound before.
    pub counts: [u64; BOUNDS],
    /// Writes that took longer still.
    pub slower: u64,
    /// All of them together.
    pub total: Duration,
}

impl Fsyncs {
    fn note(&mut self, took: Duration) {
        let bound = |at: &usize| took <= Duration::from_millis(1 << at);
        match (0..BOUNDS).find(bound) {
            Some(at) => self.counts[at] += 1,
            None => self.slower += 1,
        }
        self.total += took;
    }
}

/// The durations of the newest writes, and of all in figures.
#[derive(Default)]
pub(crate) struct Meter {
    writes: Mutex<VecDeque<(Instant, Duration)>>,
    all: Mutex<Fsyncs>,
}

impl Meter {
    /// Notes a write that has just ended.
    pub(super) fn note(&self, took: Duration) {
        self.all.lock().note(took);
        let mut writes = self.writes.lock();
        if writes.len() == WRITES {
            writes.pop_front();
        }
        writes.push_back((Instant::now(), took));
    }

    /// All writes in figures.
    pub(crate) fn all(&self) -> Fsyncs {
        self.all.lock().clone()
    }

    /// The duration that one write in a hundred exceeds; none while there were too few.
    pub(crate) fn p99(&self) -> Option<Duration> {
        let mut recent: Vec<Duration> = {
            let writes = self.writes.lock();
            let is_recent = |at: &Instant| at.elapsed() < WINDOW;
            writes.iter().filter(|(at, _)| is_recent(at)).map(|(_, took)| *took).collect()
        };
        if recent.len() < ENOUGH {
            return None;
        }
        recent.sort_unstable();
        Some(recent[recent.len() * 99 / 100])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_under_the_next_bound() {
        let meter = Meter::default();
        for millis in [1, 2, 3, 9000] {
            meter.note(Duration::from_millis(millis));
        }
        let all = meter.all();
        assert_eq!((&all.counts[..3], all.slower), (&[1, 1, 1][..], 1));
        assert_eq!(all.total, Duration::from_millis(9006));
    }

    #[test]
    fn a_few_writes_say_nothing_and_many_show_the_slow_ones() {
        let meter = Meter::default();
        for _ in 0..ENOUGH - 1 {
            meter.note(Duration::from_millis(1));
        }
        assert_eq!(meter.p99(), None);
        for _ in 0..300 {
            meter.note(Duration::from_millis(2));
        }
        assert_eq!(meter.p99(), Some(Duration::from_millis(2)));
        for _ in 0..3 {
            meter.note(Duration::from_millis(50));
        }
        assert_eq!(meter.p99(), Some(Duration::from_millis(50)));
    }
}
