//! What members ask of each other beside the log, changes of members among it.

use fuzz::{Outcome, Target};
use prost::Message as _;
use proto::peer::{self as pb, forward_request::Request};

use crate::membership::Change;

pub(super) const TARGET: Target =
    Target { name: "forward", seeds, decode, found: &[], rounds: 3000 };

fn seeds() -> Vec<Vec<u8>> {
    let member = pb::Member {
        id: 9,
        name: "m9".to_owned(),
        peer_urls: vec!["https://10.0.0.9:2380".to_owned()],
        auto_promote: true,
    };
    let change = |kind: pb::change::Kind| {
        Request::Change(pb::Change { kind: kind.into(), member: Some(member.clone()) })
    };
    let pulse = pb::Pulse { fsync_p99_us: 1200, applied: 300, digest: u64::MAX };
    let requests = [
        Request::Propose("a request".into()),
        Request::Ask("a question".into()),
        Request::Pulse(pulse),
        change(pb::change::Kind::AddLearner),
        change(pb::change::Kind::Update),
        change(pb::change::Kind::Transfer),
    ];
    let request = |request| pb::ForwardRequest { id: 7, term: 3, request: Some(request) };
    requests.into_iter().map(|one| request(one).encode_to_vec()).collect()
}

fn decode(input: &[u8]) -> Outcome {
    match pb::ForwardRequest::decode(input).map(|message| message.request) {
        Ok(Some(Request::Change(change))) => Outcome::from(&Change::from_wire(change)),
        Ok(Some(_)) => Outcome::Taken,
        Ok(None) | Err(_) => Outcome::Refused,
    }
}
