//! What the rest of the process holds of consensus.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use openraft::{Instant as _, async_runtime::watch::WatchReceiver};
use tokio::sync::{broadcast, watch};

use crate::{
    Divergence, Error, Fsyncs, Member, Role, Status,
    membership::Change,
    node::Inner,
    propose::{Outcome, PROPOSE_TIMEOUT},
    removal, types, view,
};

/// A running member. Cloning shares it.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

/// A [`Handle`] that does not keep its member alive: for what the member itself holds.
#[derive(Clone)]
pub struct WeakHandle {
    inner: Weak<Inner>,
}

impl WeakHandle {
    /// The handle, unless the member is gone.
    pub fn upgrade(&self) -> Option<Handle> {
        self.inner.upgrade().map(|inner| Handle { inner })
    }
}

impl Handle {
    /// The same without keeping the member alive.
    pub fn downgrade(&self) -> WeakHandle {
        WeakHandle { inner: Arc::downgrade(&self.inner) }
    }

    /// Puts a proposal into the log, wherever the leader is, and waits until it is committed and
    /// applied by the leader. Waits through elections for [`PROPOSE_TIMEOUT`].
    ///
    /// The result is delivered by the state machine here, when it meets the entry. It may meet it
    /// before this returns, and even when this fails; see [`Error::LeaderChanged`] for when it
    /// certainly won't, and [`Error::without_effect`].
    pub async fn propose(&self, payload: Bytes) -> Result<(), Error> {
        self.inner.propose(payload, PROPOSE_TIMEOUT).await
    }

    /// [`propose`](Self::propose) with a deadline of the caller's own.
    pub async fn propose_within(&self, payload: Bytes, limit: Duration) -> Result<(), Error> {
        self.inner.propose(payload, limit).await
    }

    /// Proposes as the leader of a term: for decisions that only that leader may make. Fails with
    /// [`Error::NotLeader`] without effect when this member does not lead that term any more.
    pub async fn propose_in_term(&self, term: u64, payload: Bytes) -> Result<(), Error> {
        match self.inner.propose_here(term, payload).await {
            Outcome::Done => Ok(()),
            Outcome::Refused => Err(Error::NotLeader),
            Outcome::Lost => Err(Error::LeaderChanged),
            Outcome::Stopped => Err(Error::Stopped),
        }
    }

    /// Proposes several entries at once; they enter the log in this order unless the leader
    /// changes meanwhile. Each has its own outcome.
    pub async fn propose_many(&self, payloads: Vec<Bytes>) -> Vec<Result<(), Error>> {
        let proposals = payloads.into_iter().map(|payload| self.propose(payload));
        futures::future::join_all(proposals).await
    }

    /// The log index that a read must see applied to be linearizable: everything committed before
    /// this call is at or below it. Concurrent calls share one round.
    pub async fn read_index(&self) -> Result<u64, Error> {
        self.inner.reads.read_index().await
    }

    /// Waits until the state machine here has applied this index.
    pub async fn wait_applied(&self, index: u64) -> Result<(), Error> {
        let mut applied = self.inner.applied.clone();
        match applied.wait_for(|at| at.next > index).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Stopped),
        }
    }

    /// Index of the last entry that the state machine here has applied; 0 before the first.
    pub fn applied(&self) -> u64 {
        self.inner.applied.borrow().index()
    }

    /// Term of the last entry that the state machine here has applied, in this life or before.
    pub fn applied_term(&self) -> u64 {
        self.inner.applied.borrow().term
    }

    /// Asks the leader's [`LeaderService`](crate::LeaderService), which may be in this process.
    /// Waits through elections; a request that got no answer from a leader that went away is
    /// reported as [`Error::LeaderChanged`], and may have been served.
    pub async fn call_leader(&self, request: Bytes) -> Result<Bytes, Error> {
        self.inner.call_leader(request).await
    }

    /// Asks one member's [`LeaderService`](crate::LeaderService), whether it leads or not.
    pub async fn ask_member(&self, id: u64, request: Bytes) -> Result<Bytes, Error> {
        self.inner.ask_member(id, request).await
    }

    /// What comparing states with other members has shown, as it is found out.
    pub fn divergence(&self) -> watch::Receiver<Option<Divergence>> {
        self.inner.divergence.subscribe()
    }

    /// How far the state machine has come and a hash over what led there; see
    /// [`StateMachine::digest`](crate::StateMachine::digest).
    pub fn digest(&self) -> Option<(u64, u64)> {
        self.inner.machine.digest()
    }

    /// How long one in a hundred of the newest writes of the log took at least.
    pub fn fsync_p99(&self) -> Option<Duration> {
        self.inner.log.fsync_p99()
    }

    /// How long writes of the log took since the start.
    pub fn fsyncs(&self) -> Fsyncs {
        self.inner.log.fsyncs()
    }

    /// Whether somebody leads, as far as this member knows. One that leads itself must have heard
    /// from a majority within `silence`: before, another may have been elected.
    pub fn has_leader(&self, silence: Duration) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        if metrics.current_leader != Some(self.inner.id) || membership.voter_ids().count() == 1 {
            return metrics.current_leader.is_some();
        }
        metrics.last_quorum_acked.as_ref().is_some_and(|acked| acked.elapsed() < silence)
    }

    /// What this member knows now.
    pub fn status(&self) -> Status {
        let (state, view) = view::now(&self.inner.raft);
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        Status {
            id: self.inner.id,
            leader: view.leader,
            term: view.term,
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: types::index(metrics.local_committed.as_ref()),
            applied: self.applied(),
            role: types::role(state, view.leader == Some(self.inner.id)),
            members: types::members(metrics.membership_config.membership()),
        }
    }

    /// This member's id.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The cluster's id; 0 until a joining member has learned it.
    pub fn cluster_id(&self) -> u64 {
        self.inner.identity.cluster()
    }

    /// What this member is now.
    pub fn role(&self) -> Role {
        let (state, view) = view::now(&self.inner.raft);
        types::role(state, view.leader == Some(self.inner.id))
    }

    /// Whether this member leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// Who leads, as it changes.
    pub fn leader(&self) -> watch::Receiver<Option<u64>> {
        self.inner.leader.clone()
    }

    /// Ids of members whose process has just been proven dead: their port refuses connections.
    /// Says nothing about hosts that are cut off.
    pub fn peer_down(&self) -> broadcast::Receiver<u64> {
        self.inner.peer_down.subscribe()
    }

    /// For how long this member has been connected to another without a break; none when it is not.
    pub fn connected_for(&self, id: u64) -> Option<Duration> {
        self.inner.links.get(id)?.up_since().map(|since| since.elapsed())
    }

    /// Hands leadership to another voter; only the leader can.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        self.inner.change(Change::Transfer(to)).await
    }

    /// Adds a member that gets the log but has no vote. A member that is not marked `learner`
    /// gets its vote by itself as soon as it has caught up.
    pub async fn add_learner(&self, member: Member) -> Result<(), Error> {
        self.inner.change(Change::Add(member)).await
    }

    /// Gives a learner that has caught up its vote.
    pub async fn promote(&self, id: u64) -> Result<(), Error> {
        self.inner.change(Change::Promote(id)).await
    }

    /// Removes a member for ever.
    pub async fn remove(&self, id: u64) -> Result<(), Error> {
        self.inner.change(Change::Remove(id)).await
    }

    /// Changes a member's name and addresses.
    pub async fn update(&self, member: Member) -> Result<(), Error> {
        self.inner.change(Change::Update(member)).await
    }

    /// Makes the state durable and drops log entries that no member should need, now rather than
    /// when enough of them have piled up.
    pub async fn compact_log(&self) -> Result<(), Error> {
        self.inner.compact_log().await
    }

    /// Waits for the end of this member: `Ok` after an orderly shutdown, an error when consensus
    /// failed and the process must end.
    pub async fn closed(&self) -> Result<(), Error> {
        let mut outcome = self.inner.outcome.subscribe();
        match outcome.wait_for(|outcome| outcome.is_some()).await.as_deref() {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(text))) if text == removal::NOTICE => Err(Error::Removed),
            Ok(Some(Err(text))) => Err(Error::Fatal(text.clone())),
            Ok(None) | Err(_) => Err(Error::Stopped),
        }
    }

    /// Ends this member as a failed write of its log would, for a reason that only its user knows.
    pub fn fail(&self, reason: String) {
        self.inner.finish(Err(reason));
    }

    /// Ends this member at once, as a crash would: no transfer of leadership, no last words.
    pub async fn kill(&self) {
        self.inner.kill().await;
    }
}
