//! Changes of members, one at a time, made by the leader.
//!
//! A new member always begins as a learner, so that a cluster never waits for a vote that cannot
//! come. One that was not added as a learner gets its vote by itself once it has caught up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::{
    ChangeMembers,
    async_runtime::watch::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
};
use proto::peer::{Change as WireChange, Member as WireMember, change::Kind, forward_request};
use tokio::time::{Instant, timeout_at};

use crate::{
    Error, Member,
    node::Inner,
    types::{Membership, Node, TypeConfig},
    view::View,
};

/// How long a change waits through elections, and for the members it concerns.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a leader tries to hand over.
const TRANSFER: Duration = Duration::from_secs(2);
/// Time after which it asks again.
const TRANSFER_AGAIN: Duration = Duration::from_millis(200);
/// A learner at most this many entries behind may vote.
const IN_SYNC: u64 = 1000;
/// Time between looks at learners that wait for their vote.
const PROMOTE_EVERY: Duration = Duration::from_millis(200);

/// One change.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Add(Member),
    Promote(u64),
    Remove(u64),
    Update(Member),
    Transfer(u64),
}

impl Change {
    fn to_wire(&self) -> WireChange {
        let only_id = |id: u64| WireMember { id, ..WireMember::default() };
        let whole = |member: &Member| WireMember {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            auto_promote: !member.learner,
        };
        let (kind, member) = match self {
            Self::Add(member) => (Kind::AddLearner, whole(member)),
            Self::Promote(id) => (Kind::Promote, only_id(*id)),
            Self::Remove(id) => (Kind::Remove, only_id(*id)),
            Self::Update(member) => (Kind::Update, whole(member)),
            Self::Transfer(id) => (Kind::Transfer, only_id(*id)),
        };
        WireChange { kind: kind.into(), member: Some(member) }
    }

    pub(crate) fn from_wire(change: WireChange) -> Option<Self> {
        let kind = Kind::try_from(change.kind).ok()?;
        let wire = change.member?;
        let member = Member {
            id: wire.id,
            name: wire.name,
            peer_urls: wire.peer_urls,
            learner: !wire.auto_promote,
        };
        Some(match kind {
            Kind::AddLearner => Self::Add(member),
            Kind::Promote => Self::Promote(member.id),
            Kind::Remove => Self::Remove(member.id),
            Kind::Update => Self::Update(member),
            Kind::Transfer => Self::Transfer(member.id),
        })
    }
}

impl Inner {
    /// Has the leader make a change.
    pub(crate) async fn change(&self, change: Change) -> Result<(), Error> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (leader, term) = self.wait_leader(deadline).await?;
            let attempt = async {
                if leader == self.id {
                    return self.change_here(change.clone()).await;
                }
                if matches!(change, Change::Transfer(_)) {
                    return Err(Error::Membership("not leader".to_owned()));
                }
                let request = forward_request::Request::Change(change.to_wire());
                self.ask(leader, 0, request).await.map(|_| ())
            };
            match timeout_at(deadline, attempt).await {
                Ok(Err(Error::NotLeader)) => {
                    self.pause(View { leader: Some(leader), term }).await;
                }
                Ok(result) => return result,
                Err(_) => return Err(Error::Timeout),
            }
        }
    }

    /// Makes a change as the leader.
    pub(crate) async fn change_here(&self, change: Change) -> Result<(), Error> {
        let membership = self.membership();
        match change {
            Change::Transfer(to) => self.transfer_here(to).await,
            Change::Add(member) => {
                check_new(&membership, &member)?;
                let id = member.id;
                let written = self.raft.add_learner(id, node(member), false).await;
                written.map(|_| ()).map_err(change_error)
            }
            Change::Promote(id) => {
                self.check_promotion(&membership, id)?;
                self.give_vote(id).await
            }
            Change::Remove(id) => {
                if membership.get_node(&id).is_none() {
                    return Err(Error::Membership("member not found".to_owned()));
                }
                if membership.voter_ids().any(|voter| voter == id) {
                    if id == self.id && membership.voter_ids().count() > 1 {
                        // Another leader removes this one: nothing is lost on the way.
                        self.hand_over().await;
                        return Err(Error::NotLeader);
                    }
                    self.write(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await
                } else {
                    self.write(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false).await
                }
            }
            Change::Update(member) => {
                let Some(old) = membership.get_node(&member.id) else {
                    return Err(Error::Membership("member not found".to_owned()));
                };
                check_urls(&membership, &member)?;
                let id = member.id;
                let new = Node { auto_promote: old.auto_promote, ..node(member) };
                self.write(ChangeMembers::SetNodes(BTreeMap::from([(id, new)])), true).await
            }
        }
    }

    async fn give_vote(&self, id: u64) -> Result<(), Error> {
        self.write(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
    }

    async fn write(&self, change: ChangeMembers<u64, Node>, retain: bool) -> Result<(), Error> {
        let written = self.raft.change_membership(change, retain).await;
        written.map(|_| ()).map_err(change_error)
    }

    pub(crate) fn membership(&self) -> Membership {
        self.raft.metrics().borrow_watched().membership_config.membership().clone()
    }

    fn check_promotion(&self, membership: &Membership, id: u64) -> Result<(), Error> {
        if membership.get_node(&id).is_none() {
            return Err(Error::Membership("member not found".to_owned()));
        }
        let is_learner = |node: &Node| !node.auto_promote;
        let learners = || membership.learner_ids();
        if !learners()
            .any(|learner| learner == id && membership.get_node(&id).is_some_and(is_learner))
        {
            return Err(Error::Membership("can only promote a learner member".to_owned()));
        }
        if self.in_sync(id) {
            return Ok(());
        }
        let text = "can only promote a learner member which is in sync with leader";
        Err(Error::Membership(text.to_owned()))
    }

    /// Whether a follower's log is about as long as this leader's.
    pub(crate) fn in_sync(&self, id: u64) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
        let last = metrics.last_log_index.unwrap_or(0);
        matched.is_some_and(|log| log.index + IN_SYNC >= last)
    }

    pub(crate) async fn transfer_here(&self, to: u64) -> Result<(), Error> {
        let voters: Vec<u64> = self.membership().voter_ids().collect();
        if !voters.contains(&to) {
            return Err(Error::Membership("bad leader transferee".to_owned()));
        }
        if to == self.id {
            return Ok(());
        }
        // A follower that has not got this leader's last entry yet lets a request pass: it is made again.
        let deadline = Instant::now() + TRANSFER;
        let mut view = self.view.clone();
        loop {
            if self.raft.trigger().transfer_leader(to).await.is_err() {
                return Err(Error::Stopped);
            }
            let done = view.wait_for(|view| view.leader == Some(to));
            match tokio::time::timeout(TRANSFER_AGAIN, done).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err(Error::Stopped),
                Err(_) if Instant::now() >= deadline => return Err(Error::Timeout),
                Err(_) => tracing::debug!("leadership not handed over yet, asking again"),
            }
        }
    }

    /// Gives leadership to the follower that is closest, if there is one, and waits until its
    /// first entry is here: what was proposed before is decided then.
    pub(crate) async fn hand_over(&self) {
        let term = self.view.borrow().term;
        let Some(to) = self.successor() else { return };
        if let Err(error) = self.transfer_here(to).await {
            tracing::warn!(error = stdx::chain(&error), "leadership not handed over");
            return;
        }
        let mut applied = self.applied.clone();
        let decided = applied.wait_for(|applied| applied.term > term);
        if !matches!(tokio::time::timeout(TRANSFER, decided).await, Ok(Ok(_))) {
            tracing::debug!("left before the next leader's first entry");
        }
    }

    fn successor(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_leader != Some(self.id) {
            return None;
        }
        let voters = metrics.membership_config.membership().voter_ids();
        let replication = metrics.replication.as_ref()?;
        voters
            .filter(|id| *id != self.id && self.links.get(*id).is_some_and(|link| link.is_up()))
            .max_by_key(|id| replication.get(id).copied().flatten())
    }
}

/// Gives learners that wait for it their vote while this member leads.
pub(crate) async fn promote_waiting(inner: Arc<Inner>) {
    let mut every = tokio::time::interval(PROMOTE_EVERY);
    while inner.stop.guard(every.tick()).await.is_some() {
        if inner.view.borrow().leader != Some(inner.id) {
            continue;
        }
        let membership = inner.membership();
        let ready = membership.learner_ids().find(|id| {
            let waits = membership.get_node(id).is_some_and(|node| node.auto_promote);
            waits && inner.in_sync(*id)
        });
        if let Some(id) = ready {
            match inner.give_vote(id).await {
                Ok(()) => tracing::info!(member = format!("{id:x}"), "member votes from now on"),
                Err(error) => tracing::debug!(error = stdx::chain(&error), "not promoted"),
            }
        }
    }
}

fn node(member: Member) -> Node {
    Node { name: member.name, peer_urls: member.peer_urls, auto_promote: !member.learner }
}

/// Ids are made of URLs, so a known id mostly means known URLs, and that is what is wrong then.
fn check_new(membership: &Membership, member: &Member) -> Result<(), Error> {
    if membership.get_node(&member.id).is_some_and(|node| !share_url(node, member)) {
        return Err(Error::Membership("member ID already exist".to_owned()));
    }
    if membership.nodes().any(|(_, node)| share_url(node, member)) {
        return Err(urls_exist());
    }
    check_urls(membership, member)
}

fn share_url(node: &Node, member: &Member) -> bool {
    node.peer_urls.iter().any(|url| member.peer_urls.contains(url))
}

fn urls_exist() -> Error {
    Error::Membership("Peer URLs already exists".to_owned())
}

fn check_urls(membership: &Membership, member: &Member) -> Result<(), Error> {
    if member.peer_urls.is_empty() {
        return Err(Error::Membership("given member URLs are invalid".to_owned()));
    }
    let taken = |(id, node): (&u64, &Node)| *id != member.id && share_url(node, member);
    if membership.nodes().any(taken) { Err(urls_exist()) } else { Ok(()) }
}

fn change_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Error {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Error::NotLeader,
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Error::LeaderChanged,
        // Another change is under way: to be asked again in a moment, as after an election.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_),
        )) => Error::NotLeader,
        RaftError::APIError(error) => Error::Membership(error.to_string()),
        RaftError::Fatal(_) => Error::Stopped,
    }
}
