//! openraft's types as this crate fills them in, under short names.

use std::fmt;

use bytes::Bytes;
use openraft::{ServerState, vote::leader_id_std};

use crate::{Member, Role, runtime::Runtime};

openraft::declare_raft_types!(
    /// Raft as this crate uses it: standard terms, opaque commands, no answers (the store
    /// delivers those itself).
    pub(crate) TypeConfig:
        D = Command,
        R = (),
        Node = Node,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, crate::adapter::Adapter>;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type RaftEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type RaftPayload = openraft::type_config::alias::PayloadOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, Node>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// What a proposal says; opaque here.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What the membership says about one member.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    /// A learner that shall vote as soon as it has caught up.
    pub(crate) auto_promote: bool,
}

/// How far the state machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Applied {
    /// Index of the next entry to apply: one more than the last applied.
    pub(crate) next: u64,
    /// Term of the last applied entry.
    pub(crate) term: u64,
}

impl Applied {
    pub(crate) fn index(self) -> u64 {
        self.next.saturating_sub(1)
    }
}

impl From<Option<&LogId>> for Applied {
    fn from(log: Option<&LogId>) -> Self {
        log.map_or_else(Self::default, |log| Self { next: log.index + 1, term: log.leader_id.term })
    }
}

pub(crate) fn index(log: Option<&LogId>) -> u64 {
    log.map_or(0, |log| log.index)
}

pub(crate) fn role(state: ServerState, leads: bool) -> Role {
    match state {
        ServerState::Leader if leads => Role::Leader,
        ServerState::Leader | ServerState::Follower | ServerState::Shutdown => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
    }
}

pub(crate) fn members(membership: &Membership) -> Vec<Member> {
    let voters: Vec<u64> = membership.voter_ids().collect();
    membership
        .nodes()
        .map(|(id, node)| Member {
            id: *id,
            name: node.name.clone(),
            peer_urls: node.peer_urls.clone(),
            learner: !voters.contains(id) && !node.auto_promote,
        })
        .collect()
}
