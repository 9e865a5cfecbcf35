//! Compaction by itself: history older than a time, or than a number of revisions, goes. All
//! members keep count, and the one that leads compacts.
//!
//! ```text
//! periodic, 5 m:   a revision is noted every 30 s; the one noted 5 m ago is compacted
//! revision, 1000:  every 5 m, all but the newest 1000 revisions are compacted
//! ```

use std::{collections::VecDeque, sync::Arc, time::Duration};

use proto::etcdserverpb::{CompactionRequest, InternalRaftRequest};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Error, node::Inner};

/// How often history is looked at that is kept by number.
const REVISION_LOOK: Duration = Duration::from_secs(300);
/// Longest time between two compactions by time.
const LONGEST: Duration = Duration::from_secs(3600);
/// Notes between two compactions by time.
const NOTES: u32 = 10;

/// Which history goes by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AutoCompaction {
    /// None.
    #[default]
    Off,
    /// What is older.
    Periodic(Duration),
    /// All but so many of the newest revisions.
    Revisions(i64),
}

/// What is to be compacted, by what was noted before. Knows no clock.
struct Plan {
    mode: AutoCompaction,
    /// Revisions noted, the oldest first.
    noted: VecDeque<i64>,
    /// When a compaction last succeeded, or counting began.
    last: Instant,
    /// Time until the next.
    pause: Duration,
    done: i64,
}

impl Plan {
    fn new(mode: AutoCompaction, now: Instant) -> Self {
        let pause = match mode {
            AutoCompaction::Periodic(period) => period,
            _ => Duration::ZERO,
        };
        Self { mode, noted: VecDeque::new(), last: now, pause, done: 0 }
    }

    /// How often to look.
    fn look(&self) -> Duration {
        match self.mode {
            AutoCompaction::Periodic(period) => period.min(LONGEST) / NOTES,
            _ => REVISION_LOOK,
        }
    }

    /// Notes a revision; the one to compact now, if there is one.
    fn due(&mut self, now: Instant, revision: i64) -> Option<i64> {
        let wanted = match self.mode {
            AutoCompaction::Off => return None,
            AutoCompaction::Revisions(kept) => revision - kept,
            AutoCompaction::Periodic(period) => {
                let kept = period.as_nanos().div_ceil(self.look().as_nanos().max(1)) + 1;
                self.noted.push_back(revision);
                while self.noted.len() as u128 > kept {
                    self.noted.pop_front();
                }
                if now.duration_since(self.last) < self.pause {
                    return None;
                }
                *self.noted.front()?
            }
        };
        (wanted > 0 && wanted != self.done).then_some(wanted)
    }

    /// A compaction has succeeded.
    fn succeeded(&mut self, now: Instant, revision: i64) {
        (self.done, self.last) = (revision, now);
        self.pause = self.pause.min(LONGEST);
    }
}

impl Inner {
    /// Compacts for ever, while this member leads.
    pub(crate) async fn compact_automatically(self: Arc<Self>) {
        let mode = self.config.auto_compaction;
        if mode == AutoCompaction::Off {
            return;
        }
        let mut plan = Plan::new(mode, Instant::now());
        let mut looks = interval(plan.look().max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let due = plan.due(Instant::now(), self.state().load().revision());
            let Some(revision) = due.filter(|_| *self.leading.borrow()) else { continue };
            let compaction = Some(CompactionRequest { revision, physical: false });
            let request = InternalRaftRequest { compaction, ..InternalRaftRequest::default() };
            match self.propose(request).await {
                Ok(_) | Err(Error::Compacted) => {
                    tracing::info!(revision, "compacted by itself");
                    plan.succeeded(Instant::now(), revision);
                }
                Err(error) => tracing::warn!(%error, revision, "not compacted by itself"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_the_revision_of_then_is_compacted() {
        let start = Instant::now();
        let period = Duration::from_secs(600);
        let mut plan = Plan::new(AutoCompaction::Periodic(period), start);
        let after = |minutes: u32| start + minutes * Duration::from_secs(60);
        assert_eq!(plan.look(), Duration::from_secs(60));
        for minute in 0..10 {
            assert_eq!(plan.due(after(minute), 100 + i64::from(minute)), None);
        }
        assert_eq!(plan.due(after(10), 110), Some(100));
        plan.succeeded(after(10), 100);
        assert_eq!(plan.due(after(11), 111), None);
        for minute in 12..20 {
            assert_eq!(plan.due(after(minute), 100 + i64::from(minute)), None);
        }
        assert_eq!(plan.due(after(20), 120), Some(110));
    }

    #[test]
    fn by_number_the_newest_revisions_stay() {
        let now = Instant::now();
        let mut plan = Plan::new(AutoCompaction::Revisions(100), now);
        assert_eq!(plan.due(now, 50), None);
        assert_eq!(plan.due(now, 150), Some(50));
        plan.succeeded(now, 50);
        assert_eq!(plan.due(now, 150), None);
        assert_eq!(plan.due(now, 151), Some(51));
    }
}
