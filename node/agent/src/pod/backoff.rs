//! Time between two starts of a container that keeps ending: 10 s, doubled up to 300 s, forgotten
//! after a long good run.

use crate::clock::{Nanos, SECOND};

/// The first delay.
const FIRST: Nanos = 10 * SECOND;
/// The longest delay.
const LONGEST: Nanos = 300 * SECOND;
/// A run of this length forgets the delay.
const GOOD: Nanos = 2 * LONGEST;

/// The delay of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Time from the end of a run to the next start.
    pub(crate) delay: Nanos,
    /// When it was last raised.
    pub(crate) raised: Nanos,
}

impl Backoff {
    /// The delay after one more start at `now`; `before` is what it was.
    pub(crate) fn next(before: Option<Self>, now: Nanos) -> Self {
        let delay = match before {
            Some(before) if now - before.raised <= GOOD => (before.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        Self { delay, raised: now }
    }

    /// When the next start may be, after a run that ended at `ended`.
    pub(crate) fn until(self, ended: Nanos) -> Nanos {
        match ended - self.raised > GOOD {
            true => ended,
            false => ended + self.delay,
        }
    }
}

/// A delay as messages write it: `10s`, `1m20s`, `5m0s`.
pub(crate) fn text(delay: Nanos) -> String {
    let seconds = delay / SECOND;
    match seconds < 60 {
        true => format!("{seconds}s"),
        false => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes_and_are_forgotten() {
        let mut backoff = None;
        let mut delays = Vec::new();
        for _ in 0..7 {
            let next = Backoff::next(backoff, 0);
            delays.push(next.delay / SECOND);
            backoff = Some(next);
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(Backoff::next(backoff, GOOD + 1).delay, FIRST);
        assert_eq!(backoff.unwrap().until(SECOND), 301 * SECOND);
        assert_eq!(backoff.unwrap().until(GOOD + 1), GOOD + 1);
        assert_eq!((text(10 * SECOND), text(LONGEST)), ("10s".into(), "5m0s".into()));
    }
}
