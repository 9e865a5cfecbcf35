//! What members tell each other a few times a second beside the log: how slow their disks are,
//! and a hash over everything that has led to their state.
//!
//! Terms. A member *differs* from another when both have known hashes at one position and these
//! are not the same: their states are no copies of each other any more, for good. A member is
//! *diverged* when it differs from a majority of all voters: whoever is right, it belongs to no
//! majority of equals. A leader that sees members differ, and no majority on either side, has a
//! *split* before it, which no member can judge.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use proto::peer::{ForwardRequest, Pulse, forward_request::Request};
use tokio::time::{Instant, timeout};

use crate::{Divergence, node::Inner, slow_disk};

/// How often members tell each other.
const EVERY: Duration = Duration::from_millis(250);
/// How long a member may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// What is known of another member.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Health {
    /// Time of the last question and its answer.
    pub(crate) round_trip: Duration,
    /// Slow writes of its log; none while there were too few.
    pub(crate) fsync_p99: Option<Duration>,
    /// Whether its state has been seen to differ from the one here.
    differs: bool,
}

/// Tells and hears, until the member stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut slow = slow_disk::Judge::default();
    let mut health: BTreeMap<u64, Health> = BTreeMap::new();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while inner.stop.guard(every.tick()).await.is_some() {
        let members = inner.membership();
        health.retain(|id, _| members.get_node(id).is_some());
        let others: Vec<u64> =
            members.nodes().map(|(id, _)| *id).filter(|id| *id != inner.id).collect();
        let asking = others.iter().map(|id| async { (*id, inner.exchange(*id).await) });
        for (id, answer) in join_all(asking).await {
            let Some((pulse, round_trip)) = answer else { continue };
            let known = health.entry(id).or_default();
            known.round_trip = round_trip;
            known.fsync_p99 =
                (pulse.fsync_p99_us > 0).then(|| Duration::from_micros(pulse.fsync_p99_us));
            known.differs |= inner.differs(&pulse);
        }
        inner.judge(&health);
        slow.look(&inner, &health).await;
    }
}

impl Inner {
    /// What this member tells.
    pub(crate) fn pulse(&self) -> Pulse {
        let fsync = self.log.fsync_p99().map_or(0, |time| time.as_micros());
        let (applied, digest) = self.machine.digest().unwrap_or_default();
        Pulse { fsync_p99_us: u64::try_from(fsync).unwrap_or(u64::MAX), applied, digest }
    }

    /// Tells another member, and hears from it.
    async fn exchange(&self, id: u64) -> Option<(Pulse, Duration)> {
        if !self.links.get(id).is_some_and(|link| link.is_up()) {
            return None;
        }
        let began = Instant::now();
        let request = Some(Request::Pulse(self.pulse()));
        let request = ForwardRequest { id: 0, term: 0, request };
        match timeout(ANSWER, self.forwarder.request(id, request)).await {
            Ok(Ok(response)) => Some((response.pulse?, began.elapsed())),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Whether a state that somebody told of is no copy of the one here.
    fn differs(&self, pulse: &Pulse) -> bool {
        let here = (pulse.digest != 0).then(|| self.machine.digest_at(pulse.applied)).flatten();
        here.is_some_and(|here| here != pulse.digest)
    }

    fn judge(&self, health: &BTreeMap<u64, Health>) {
        let differing: Vec<u64> =
            health.iter().filter(|(_, health)| health.differs).map(|(id, _)| *id).collect();
        if differing.is_empty() {
            return;
        }
        let membership = self.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let majority = voters.len() / 2 + 1;
        let against = voters.iter().filter(|id| differing.contains(id)).count();
        let verdict = if against >= majority {
            Divergence::Here
        } else if voters.len() - against < majority {
            Divergence::Split(differing)
        } else {
            Divergence::Elsewhere(differing)
        };
        self.divergence.send_if_modified(|old| {
            // A member that is diverged stays so.
            let is_news = *old != Some(Divergence::Here) && old.as_ref() != Some(&verdict);
            if is_news {
                tracing::error!(?verdict, "members' states differ");
                *old = Some(verdict);
            }
            is_news
        });
    }
}
