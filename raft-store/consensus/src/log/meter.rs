//! How long writes of the log take: what a leader compares with its followers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Writes that are remembered.
const WRITES: usize = 256;
/// How long they are.
const WINDOW: Duration = Duration::from_secs(10);
/// Fewer say nothing.
const ENOUGH: usize = 8;

/// The durations of the newest writes.
#[derive(Default)]
pub(crate) struct Meter {
    writes: Mutex<VecDeque<(Instant, Duration)>>,
}

impl Meter {
    /// Notes a write that has just ended.
    pub(super) fn note(&self, took: Duration) {
        let mut writes = self.writes.lock();
        if writes.len() == WRITES {
            writes.pop_front();
        }
        writes.push_back((Instant::now(), took));
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
