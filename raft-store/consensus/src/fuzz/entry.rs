//! Log entries, as they lie on disk and come from the leader.

use fuzz::{Outcome, Target};
use prost::Message as _;
use proto::peer as pb;

use crate::{
    types::{Command, RaftEntry, RaftPayload},
    wire,
};

pub(super) const TARGET: Target =
    Target { name: "log-entry", seeds, decode, found: &[], rounds: 3000 };

fn entry(payload: RaftPayload) -> RaftEntry {
    RaftEntry { log_id: super::position(), payload }
}

fn seeds() -> Vec<Vec<u8>> {
    let payloads = [
        RaftPayload::Blank,
        RaftPayload::Normal(Command("a request".into())),
        RaftPayload::Membership(super::membership()),
    ];
    payloads.into_iter().map(|payload| wire::entry(entry(payload)).encode_to_vec()).collect()
}

fn decode(input: &[u8]) -> Outcome {
    let read = |bytes: &[u8]| {
        let entry = pb::Entry::decode(bytes).map_err(std::io::Error::other);
        entry.and_then(wire::to_entry)
    };
    let entry = read(input);
    if let Ok(entry) = &entry {
        let again = read(&wire::entry(entry.clone()).encode_to_vec());
        assert_eq!(again.expect("it was written here"), *entry);
    }
    Outcome::from(&entry)
}
