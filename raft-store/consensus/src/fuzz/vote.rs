//! Votes asked for and given.

use fuzz::{Outcome, Target};
use openraft::raft::{VoteRequest, VoteResponse};
use prost::Message as _;
use proto::peer as pb;

use crate::{types::Vote, wire};

pub(super) const TARGET: Target = Target { name: "vote", seeds, decode, found: &[], rounds: 3000 };

/// The first byte says which of the two messages follows.
fn seeds() -> Vec<Vec<u8>> {
    let last = Some(super::position());
    let request = wire::vote_request(&VoteRequest::new(Vote::new(7, 1), last), true);
    let response = wire::vote_response(&VoteResponse::new(Vote::new_committed(8, 2), last, true));
    vec![[vec![0], request.encode_to_vec()].concat(), [vec![1], response.encode_to_vec()].concat()]
}

fn decode(input: &[u8]) -> Outcome {
    let Some((first, message)) = input.split_first() else { return Outcome::Refused };
    if first % 2 == 0 {
        let request = pb::VoteRequest::decode(message).map_err(std::io::Error::other);
        Outcome::from(&request.and_then(wire::to_vote_request))
    } else {
        let response = pb::VoteResponse::decode(message).map_err(std::io::Error::other);
        let response = response.and_then(wire::to_vote_response);
        if let Ok(response) = &response {
            let again = wire::to_vote_response(wire::vote_response(response));
            assert_eq!(again.expect("it was written here"), *response);
        }
        Outcome::from(&response)
    }
}
