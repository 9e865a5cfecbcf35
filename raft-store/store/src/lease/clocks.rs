//! The leader's clocks: when each lease ends unless somebody renews it. The time of day comes
//! from the caller.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use proto::etcdserverpb::LeaseCheckpoint;
use tokio::time::Instant;

use super::requests::MAX_TTL;

/// A lease's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ttl: i64,
    end: Instant,
    /// Its revocation is on the way: it cannot be renewed any more.
    is_ending: bool,
}

/// The clocks of all leases while this member leads.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// The term in which this member leads and has applied what came before it.
    term: Option<u64>,
    clocks: HashMap<i64, Clock>,
    /// Leases by their ends, without those that are ending.
    ends: BTreeSet<(Instant, i64)>,
}

impl Clocks {
    /// The term in which these clocks count.
    pub(super) fn term(&self) -> Option<u64> {
        self.term
    }

    /// Begins a term: all leases have all their time.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        term: u64,
        leases: impl Iterator<Item = (i64, i64, i64)>,
    ) {
        self.stop();
        self.term = Some(term);
        for (id, ttl, left) in leases {
            self.set(id, ttl, now + seconds(left));
        }
    }

    /// Stops counting.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    /// A lease began; whether it is the next to end.
    pub(super) fn granted(&mut self, now: Instant, id: i64, ttl: i64) -> bool {
        if self.term.is_none() {
            return false;
        }
        self.set(id, ttl, now + seconds(ttl));
        self.ends.first().is_some_and(|(_, first)| *first == id)
    }

    /// A lease is no more.
    pub(super) fn revoked(&mut self, id: i64) {
        if let Some(clock) = self.clocks.remove(&id) {
            self.ends.remove(&(clock.end, id));
        }
    }

    /// Gives a lease all its time again: its seconds, or none when it is not there any more.
    pub(super) fn renew(&mut self, now: Instant, id: i64) -> Option<i64> {
        let clock = *self.clocks.get(&id)?;
        if clock.is_ending || clock.end <= now {
            return None;
        }
        self.ends.remove(&(clock.end, id));
        self.set(id, clock.ttl, now + seconds(clock.ttl));
        Some(clock.ttl)
    }

    /// What a lease still has.
    pub(super) fn left(&self, now: Instant, id: i64) -> Option<Duration> {
        let clock = self.clocks.get(&id)?;
        Some(clock.end.saturating_duration_since(now))
    }

    /// What leases still have that were not renewed for so long, in whole seconds.
    pub(super) fn unrenewed(&self, now: Instant, for_long: Duration) -> Vec<LeaseCheckpoint> {
        let mut found = Vec::new();
        for (id, clock) in &self.clocks {
            let left = clock.end.saturating_duration_since(now);
            if seconds(clock.ttl) >= left + for_long && !left.is_zero() {
                let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                let remaining_ttl = i64::try_from(whole).unwrap_or(i64::MAX);
                found.push(LeaseCheckpoint { id: *id, remaining_ttl });
            }
        }
        found
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Leases that have run out, at most so many; they cannot be renewed from here on.
    pub(super) fn take_ended(&mut self, now: Instant, limit: usize) -> Vec<i64> {
        let mut ended = Vec::new();
        while ended.len() < limit
            && let Some((end, id)) = self.ends.first().copied()
            && end <= now
        {
            self.ends.remove(&(end, id));
            if let Some(clock) = self.clocks.get_mut(&id) {
                clock.is_ending = true;
            }
            ended.push(id);
        }
        ended
    }

    /// A revocation did not succeed: it is tried again a little later.
    pub(super) fn retry(&mut self, id: i64, at: Instant) {
        if let Some(clock) = self.clocks.get_mut(&id) {
            clock.end = at;
            self.ends.insert((clock.end, id));
        }
    }

    fn set(&mut self, id: i64, ttl: i64, end: Instant) {
        self.clocks.insert(id, Clock { ttl, end, is_ending: false });
        self.ends.insert((end, id));
    }
}

/// A lease out of a foreign file may say more than any may have.
fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count.min(MAX_TTL)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_once_and_only_if_nobody_renews_it() {
        let start = Instant::now();
        let after = |count: u64| start + Duration::from_secs(count);
        let mut clocks = Clocks::default();
        clocks.begin(start, 3, [(1, 10, 10), (2, 10, 4)].into_iter());
        assert_eq!(clocks.renew(after(3), 2), Some(10));
        assert_eq!(clocks.take_ended(after(11), 10), [1]);
        assert_eq!(clocks.take_ended(after(11), 10), [0; 0]);
        assert_eq!(clocks.renew(after(11), 1), None);
        assert_eq!(clocks.left(after(11), 2), Some(Duration::from_secs(2)));
        clocks.retry(1, after(12));
        assert_eq!(clocks.take_ended(after(12), 10), [1]);
        clocks.revoked(1);
        assert_eq!(clocks.left(after(12), 1), None);
    }

    #[test]
    fn only_leases_that_nobody_renews_have_their_times_written_down() {
        let start = Instant::now();
        let after = |count: u64| start + Duration::from_secs(count);
        let mut clocks = Clocks::default();
        clocks.begin(start, 1, [(1, 100, 100), (2, 100, 100), (3, 5, 5)].into_iter());
        clocks.renew(after(15), 2);
        let found = clocks.unrenewed(after(20), Duration::from_secs(10));
        assert_eq!(found, [LeaseCheckpoint { id: 1, remaining_ttl: 80 }]);
    }

    #[test]
    fn clocks_count_only_while_the_member_leads() {
        let now = Instant::now();
        let mut clocks = Clocks::default();
        assert!(!clocks.granted(now, 1, 5));
        assert_eq!(clocks.next_end(), None);
        clocks.begin(now, 1, [(1, 5, 5)].into_iter());
        assert!(clocks.granted(now, 2, 1));
        clocks.stop();
        assert_eq!(clocks.term(), None);
        assert_eq!(clocks.next_end(), None);
    }
}
