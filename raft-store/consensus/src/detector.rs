//! Finds out that a member's process has died, and elects a new leader at once when it led.
//!
//! A broken stream proves nothing: a network may have broken it. A port that refuses connections
//! does: the host is there and the process is not. When the members that are left agree that the
//! leader's port refuses, one of them asks for votes at once, without waiting for the lease on
//! the old leader to run out. Raft's safety never rests on that wait; only reads by lease would,
//! and there are none.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use futures::future::join_all;
use openraft::{async_runtime::watch::WatchReceiver, raft::TransferLeaderRequest};
use proto::peer as pb;
use tokio::time::{Instant, sleep};

use crate::{
    net::connector::Presence,
    node::Inner,
    types::{LogId, Vote},
    wire,
};

/// How long a broken stream is looked into.
const LOOK: Duration = Duration::from_millis(500);
/// Pauses between knocks at the port: a dying process closes one socket after the other.
const KNOCK_MS: [u64; 5] = [0, 1, 2, 5, 20];
/// Time for the other members to say whether the leader is gone for them too.
const ASK: Duration = Duration::from_millis(50);
/// Pause before asking them again.
const ASK_AGAIN: Duration = Duration::from_millis(3);
/// Head start that a better candidate gets over the next.
const STAGGER: Duration = Duration::from_millis(25);
/// Time that a candidate gets before the next attempt.
const ROUND: Duration = Duration::from_millis(60);
/// Attempts before the ordinary election timeout is left to do its work.
const ROUNDS: u32 = 4;
/// Members of a cluster that has just been started don't wait for the election timeout.
const EARLY: Duration = Duration::from_secs(5);
/// Head start of the member with the smaller id at the first election.
const FIRST_STAGGER: Duration = Duration::from_millis(40);

/// The member runs: one that is alone waits for nobody.
pub(crate) fn began(inner: &Arc<Inner>) {
    let inner = inner.clone();
    stdx::task::spawn("consensus-first-election", async move {
        inner.hasten_first_election().await;
    });
}

/// The stream to a member has opened.
pub(crate) fn reached(inner: &Arc<Inner>, id: u64) {
    tracing::debug!(peer = format!("{id:x}"), "peer reached");
    let inner = inner.clone();
    stdx::task::spawn("consensus-first-election", async move {
        if let Err(fatal) = inner.raft.trigger().reset_backoff([id]).await {
            tracing::debug!(%fatal, "the core has stopped");
            return;
        }
        inner.hasten_first_election().await;
    });
}

/// The stream to a member has broken.
pub(crate) fn lost(inner: &Arc<Inner>, id: u64) {
    tracing::debug!(peer = format!("{id:x}"), "peer lost");
    let inner = inner.clone();
    stdx::task::spawn("consensus-detector", async move {
        let began = Instant::now();
        if inner.stop.guard(inner.is_dead(id)).await != Some(true) {
            return;
        }
        tracing::warn!(peer = format!("{id:x}"), took = ?began.elapsed(), "peer process is dead");
        if inner.peer_down.send(id).is_err() {
            tracing::trace!("nobody listens for dead peers");
        }
        inner.stop.guard(inner.replace(id)).await;
    });
}

impl Inner {
    /// Knocks at a member's port until it refuses, or is open for too long, or is reached again.
    async fn is_dead(&self, id: u64) -> bool {
        let Some(link) = self.links.get(id) else { return false };
        let end = Instant::now() + LOOK;
        let mut pauses = KNOCK_MS.into_iter().cycle();
        while Instant::now() < end {
            sleep(Duration::from_millis(pauses.next().unwrap_or(0))).await;
            if link.is_up() {
                return false;
            }
            match link.connector.presence().await {
                Presence::Refused => return true,
                Presence::Unknown => return false,
                Presence::Listening => {}
            }
        }
        false
    }

    /// Whether the member that led last is not connected to this one, or not heard any more.
    pub(crate) fn leader_is_gone(&self) -> bool {
        match self.view.borrow().leader {
            None => true,
            Some(leader) => {
                let is_up = || self.links.get(leader).is_some_and(|link| link.is_up());
                leader != self.id && (!is_up() || self.suspect() == Some(leader))
            }
        }
    }

    /// Elects a new leader when the dead member led.
    pub(crate) async fn replace(&self, dead: u64) {
        let old = *self.view.borrow();
        if old.leader != Some(dead) || !self.is_voter(self.id) {
            return;
        }
        for round in 0..ROUNDS {
            let (vote, last_log) = self.position();
            match self.ask_survivors(dead, &vote, last_log).await {
                None => sleep(ASK_AGAIN).await,
                Some(better) => {
                    if better > 0 || round > 0 {
                        let rank = u32::try_from(better).unwrap_or(u32::MAX);
                        sleep(STAGGER.saturating_mul(rank)).await;
                    }
                    if self.is_replaced(dead, old.term) {
                        return;
                    }
                    self.campaign(vote, better).await;
                }
            }
            let mut view = self.view.clone();
            let done = view.wait_for(|now| {
                now.leader.is_some_and(|leader| leader != dead) && now.term > old.term
            });
            if tokio::time::timeout(ROUND, done).await.is_ok() {
                return;
            }
        }
    }

    fn is_replaced(&self, dead: u64, term: u64) -> bool {
        let now = self.view.borrow();
        now.term > term && now.leader.is_some_and(|leader| leader != dead)
    }

    /// Asks for votes without regard to the lease on the dead leader.
    async fn campaign(&self, vote: Vote, better: usize) {
        let (now, _) = self.position();
        if now != vote && better > 0 {
            // Somebody asked us meanwhile; their campaign may succeed.
            return;
        }
        tracing::info!(term = now.leader_id.term + 1, "asking for votes: the leader is dead");
        let request = TransferLeaderRequest::new(now, self.id, None);
        match self.raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => tracing::info!(%refusal, "no early election"),
            Err(fatal) => tracing::debug!(%fatal, "the core has stopped"),
        }
    }

    /// Asks the other voters whether the leader is gone for them too. None when a majority does
    /// not say so; else how many of them should rather be leader: those with a longer log, and
    /// those with the same and a smaller id.
    async fn ask_survivors(
        &self,
        dead: u64,
        vote: &Vote,
        last_log: Option<LogId>,
    ) -> Option<usize> {
        let voters: Vec<u64> = self.membership().voter_ids().collect();
        let next = Vote::new(vote.leader_id.term + 1, self.id);
        let request = pb::VoteRequest {
            vote: Some(wire::vote(&next)),
            last_log: last_log.as_ref().map(wire::log_id),
            transfer: true,
            pre: true,
        };
        let others = voters.iter().filter(|id| **id != self.id && **id != dead);
        let links: Vec<_> = others.filter_map(|id| self.links.get(*id)).collect();
        let answers = join_all(
            links.iter().map(|link| async { (link.id, link.ask_vote(request, ASK).await) }),
        )
        .await;
        let mut agreed = 1;
        let mut better = 0;
        for (id, answer) in answers {
            let Ok(answer) = answer else { continue };
            let Ok(theirs) = wire::to_position(answer.last_log) else { continue };
            agreed += usize::from(answer.granted);
            let longer = theirs > last_log || (theirs == last_log && id < self.id);
            better += usize::from(longer);
        }
        (agreed > voters.len() / 2).then_some(better)
    }

    /// This member's vote and the end of its log, now.
    fn position(&self) -> (Vote, Option<LogId>) {
        let vote = self.raft.metrics().borrow_watched().vote;
        let last_log = self.raft.data_metrics().borrow_watched().last_log;
        (vote, last_log)
    }

    fn is_voter(&self, id: u64) -> bool {
        self.membership().voter_ids().any(|voter| voter == id)
    }

    /// Has a member that was just started ask for votes as soon as it has reached a majority.
    async fn hasten_first_election(&self) {
        let voters: Vec<u64> = self.membership().voter_ids().collect();
        let is_up =
            |id: &u64| *id == self.id || self.links.get(*id).is_some_and(|link| link.is_up());
        let reached = voters.iter().filter(|id| is_up(id)).count();
        if reached <= voters.len() / 2
            || !voters.contains(&self.id)
            || self.started.elapsed() > EARLY
            || self.hastened.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let rank = voters.iter().filter(|id| **id < self.id && is_up(id)).count();
        sleep(FIRST_STAGGER.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX))).await;
        if self.view.borrow().leader.is_none()
            && let Err(fatal) = self.raft.trigger().elect(true).await
        {
            tracing::debug!(%fatal, "the core has stopped");
        }
    }
}
