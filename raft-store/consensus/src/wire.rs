//! Between openraft's types and the messages that go to other members and to disk.

use std::{collections::BTreeMap, io};

use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse,
};
use prost::Message as _;
use proto::peer as pb;

use crate::types::{
    Command, LogId, Membership, Node, RaftEntry, RaftPayload, SnapshotMeta, StoredMembership,
    TypeConfig, Vote,
};

pub(crate) fn log_id(log: &LogId) -> pb::LogId {
    pb::LogId { term: log.leader_id.term, index: log.index }
}

/// A position, behind which there must be room for another.
pub(crate) fn to_log_id(log: pb::LogId) -> Result<LogId, io::Error> {
    match log.index {
        u64::MAX => Err(invalid("a log position behind which nothing can come")),
        index => Ok(LogId::new_term_index(log.term, index)),
    }
}

/// The same for one that may be before all.
pub(crate) fn to_position(log: Option<pb::LogId>) -> Result<Option<LogId>, io::Error> {
    log.map(to_log_id).transpose()
}

pub(crate) fn vote(vote: &Vote) -> pb::Vote {
    let leader = &vote.leader_id;
    pb::Vote { term: leader.term, node: leader.voted_for, committed: vote.committed }
}

pub(crate) fn to_vote(vote: Option<pb::Vote>) -> Result<Vote, io::Error> {
    let vote = vote.ok_or_else(|| invalid("a message without a vote"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.node)
    } else {
        Vote::new(vote.term, vote.node)
    })
}

pub(crate) fn membership(membership: &Membership) -> pb::Membership {
    let configs = membership
        .get_joint_config()
        .iter()
        .map(|ids| pb::Voters { ids: ids.iter().copied().collect() })
        .collect();
    let members = membership
        .nodes()
        .map(|(id, node)| pb::Member {
            id: *id,
            name: node.name.clone(),
            peer_urls: node.peer_urls.clone(),
            auto_promote: node.auto_promote,
        })
        .collect();
    pb::Membership { configs, members }
}

pub(crate) fn to_membership(membership: pb::Membership) -> Result<Membership, io::Error> {
    let configs = membership.configs.into_iter().map(|c| c.ids.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, Node> =
        membership.members.into_iter().map(|m| (m.id, to_node(m))).collect();
    Membership::new(configs, nodes).map_err(|error| invalid(&error.to_string()))
}

pub(crate) fn to_node(member: pb::Member) -> Node {
    Node { name: member.name, peer_urls: member.peer_urls, auto_promote: member.auto_promote }
}

pub(crate) fn entry(entry: RaftEntry) -> pb::Entry {
    let payload = match entry.payload {
        RaftPayload::Blank => None,
        RaftPayload::Normal(command) => Some(pb::entry::Payload::Normal(command.0)),
        RaftPayload::Membership(members) => {
            Some(pb::entry::Payload::Membership(membership(&members)))
        }
    };
    pb::Entry { term: entry.log_id.leader_id.term, index: entry.log_id.index, payload }
}

pub(crate) fn to_entry(entry: pb::Entry) -> Result<RaftEntry, io::Error> {
    let payload = match entry.payload {
        None => RaftPayload::Blank,
        Some(pb::entry::Payload::Normal(bytes)) => RaftPayload::Normal(Command(bytes)),
        Some(pb::entry::Payload::Membership(members)) => {
            RaftPayload::Membership(to_membership(members)?)
        }
    };
    let log_id = to_log_id(pb::LogId { term: entry.term, index: entry.index })?;
    Ok(RaftEntry { log_id, payload })
}

pub(crate) fn append_request(request: AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    pb::AppendRequest {
        seq: 0,
        vote: Some(vote(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id),
        commit: request.leader_commit.as_ref().map(log_id),
        entries: request.entries.into_iter().map(entry).collect(),
    }
}

pub(crate) fn to_append_request(
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, io::Error> {
    Ok(AppendEntriesRequest {
        vote: to_vote(request.vote)?,
        prev_log_id: to_position(request.prev)?,
        leader_commit: to_position(request.commit)?,
        entries: request.entries.into_iter().map(to_entry).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn append_response(result: StreamAppendResult<TypeConfig>) -> pb::AppendResponse {
    let mut response = pb::AppendResponse::default();
    match result {
        Ok(matched) => {
            response.set_outcome(pb::append_response::Outcome::Matched);
            response.log = matched.as_ref().map(log_id);
        }
        Err(StreamAppendError::Conflict(at)) => {
            response.set_outcome(pb::append_response::Outcome::Conflict);
            response.log = Some(log_id(&at));
        }
        Err(StreamAppendError::HigherVote(higher)) => {
            response.set_outcome(pb::append_response::Outcome::HigherVote);
            response.vote = Some(vote(&higher));
        }
    }
    response
}

pub(crate) fn to_append_response(
    response: pb::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, io::Error> {
    use pb::append_response::Outcome;
    Ok(match response.outcome() {
        Outcome::Matched => Ok(to_position(response.log)?),
        Outcome::Conflict => {
            let at = response.log.ok_or_else(|| invalid("a conflict without a position"))?;
            Err(StreamAppendError::Conflict(to_log_id(at)?))
        }
        Outcome::HigherVote => Err(StreamAppendError::HigherVote(to_vote(response.vote)?)),
    })
}

pub(crate) fn vote_request(request: &VoteRequest<TypeConfig>, pre: bool) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote(&request.vote)),
        last_log: request.last_log_id.as_ref().map(log_id),
        transfer: request.leadership_transfer,
        pre,
    }
}

pub(crate) fn to_vote_request(
    request: pb::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, io::Error> {
    let last_log = to_position(request.last_log)?;
    let mut wanted = VoteRequest::new(to_vote(request.vote)?, last_log);
    wanted.leadership_transfer = request.transfer;
    Ok(wanted)
}

pub(crate) fn vote_response(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote(&response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn to_vote_response(
    response: pb::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, io::Error> {
    let last_log = to_position(response.last_log)?;
    Ok(VoteResponse::new(to_vote(response.vote)?, last_log, response.granted))
}

/// The state machine's `meta`.
pub(crate) fn applied_state(
    applied: Option<&LogId>,
    stored: &StoredMembership,
) -> pb::AppliedState {
    pb::AppliedState {
        applied: applied.map(log_id),
        membership_log: stored.log_id().as_ref().map(log_id),
        membership: Some(membership(stored.membership())),
    }
}

pub(crate) fn to_snapshot_meta(state: pb::AppliedState) -> Result<SnapshotMeta, io::Error> {
    let members = match state.membership {
        Some(members) => to_membership(members)?,
        None => Membership::default(),
    };
    Ok(SnapshotMeta {
        last_log_id: to_position(state.applied)?,
        last_membership: StoredMembership::new(to_position(state.membership_log)?, members),
    })
}

pub(crate) fn decode_meta(bytes: Option<bytes::Bytes>) -> Result<SnapshotMeta, io::Error> {
    match bytes {
        None => Ok(SnapshotMeta::default()),
        Some(bytes) => {
            let state = pb::AppliedState::decode(bytes).map_err(io::Error::other)?;
            to_snapshot_meta(state)
        }
    }
}

pub(crate) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
