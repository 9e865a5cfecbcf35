//! Moves leadership away from a slow disk. Every write passes the leader's disk or waits behind
//! it, a follower's only when it is one of the fastest.
//!
//! It moves only when the leader's slow writes are far slower than those of a follower that has
//! all of the log, for a while, and not again for a good while longer: a cluster whose disks all
//! have bad moments must not pass leadership around.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{node::Inner, pulse::Health};

/// Faster writes than this are fast enough.
const SLOW: Duration = Duration::from_millis(20);
/// How many times slower than the best follower counts.
const TIMES: u32 = 5;
/// For how long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time after a move in which this member moves nothing.
const REST: Duration = Duration::from_secs(60);

/// What a member that may lead remembers.
#[derive(Default)]
pub(crate) struct Judge {
    /// Since when the disk here is far slower.
    since: Option<Instant>,
    moved: Option<Instant>,
}

impl Judge {
    /// Looks at the disks; moves leadership when it is time to.
    pub(crate) async fn look(&mut self, inner: &Inner, health: &BTreeMap<u64, Health>) {
        let better = (inner.view.borrow().leader == Some(inner.id))
            .then(|| better(inner.log.fsync_p99(), &candidates(inner, health)))
            .flatten();
        let Some(to) = better else {
            self.since = None;
            return;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let is_resting = self.moved.is_some_and(|at| at.elapsed() < REST);
        if since.elapsed() < PATIENCE || is_resting {
            return;
        }
        self.since = None;
        self.moved = Some(Instant::now());
        let here = inner.log.fsync_p99();
        tracing::warn!(?here, to = format!("{to:x}"), "disk is slow, leadership moves");
        if let Err(error) = inner.transfer_here(to).await {
            tracing::warn!(error = stdx::chain(&error), "leadership not moved");
        }
    }
}

/// Voters that could lead at once, and how slow their disks are.
fn candidates(inner: &Inner, health: &BTreeMap<u64, Health>) -> Vec<(u64, Duration)> {
    let membership = inner.membership();
    let voters = membership.voter_ids().filter(|id| *id != inner.id && inner.in_sync(*id));
    voters.filter_map(|id| Some((id, health.get(&id)?.fsync_p99?))).collect()
}

/// The follower with the best disk, when it is far better than the one here.
fn better(here: Option<Duration>, others: &[(u64, Duration)]) -> Option<u64> {
    let here = here.filter(|here| *here >= SLOW)?;
    let (id, best) = others.iter().min_by_key(|(_, time)| *time)?;
    (*best * TIMES <= here).then_some(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_far_better_disk_is_better() {
        let ms = Duration::from_millis;
        let others = [(1, ms(30)), (2, ms(4))];
        assert_eq!(better(Some(ms(20)), &others), Some(2));
        assert_eq!(better(Some(ms(19)), &others), None);
        assert_eq!(better(Some(ms(100)), &others[..1]), None);
        assert_eq!(better(Some(ms(150)), &others[..1]), Some(1));
        assert_eq!(better(Some(ms(150)), &[]), None);
        assert_eq!(better(None, &others), None);
    }
}
