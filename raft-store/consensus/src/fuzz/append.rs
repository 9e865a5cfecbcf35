//! Entries on their way to a follower, and what it answers.

use fuzz::{Outcome, Target};
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use prost::Message as _;
use proto::peer as pb;

use crate::{
    types::{Command, RaftEntry, RaftPayload, Vote},
    wire,
};

pub(super) const TARGET: Target =
    Target { name: "append", seeds, decode, found: &[], rounds: 3000 };

/// The first byte says which of the two messages follows.
fn seeds() -> Vec<Vec<u8>> {
    let at = super::position();
    let payload = RaftPayload::Normal(Command("a request".into()));
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(7, 1),
        prev_log_id: Some(at),
        leader_commit: Some(at),
        entries: vec![RaftEntry { log_id: at, payload }],
    };
    let answers = [
        Ok(Some(at)),
        Ok(None),
        Err(StreamAppendError::Conflict(at)),
        Err(StreamAppendError::HigherVote(Vote::new(8, 2))),
    ];
    let mut seeds = vec![with(0, &wire::append_request(request))];
    seeds.extend(answers.map(|answer| with(1, &wire::append_response(answer))));
    seeds
}

fn with(first: u8, message: &impl prost::Message) -> Vec<u8> {
    [vec![first], message.encode_to_vec()].concat()
}

fn decode(input: &[u8]) -> Outcome {
    let Some((first, message)) = input.split_first() else { return Outcome::Refused };
    if first % 2 == 0 {
        let request = pb::AppendRequest::decode(message).map_err(std::io::Error::other);
        let request = request.and_then(wire::to_append_request);
        let outcome = Outcome::from(&request);
        if let Ok(request) = request {
            let entries = request.entries.len();
            let again = wire::to_append_request(wire::append_request(request));
            assert_eq!(again.expect("it was written here").entries.len(), entries);
        }
        outcome
    } else {
        let response = pb::AppendResponse::decode(message).map_err(std::io::Error::other);
        Outcome::from(&response.and_then(wire::to_append_response))
    }
}
