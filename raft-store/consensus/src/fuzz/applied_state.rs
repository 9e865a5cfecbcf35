//! How far a state machine has come: written with every group of entries, and sent with every
//! snapshot.

use fuzz::{Outcome, Target};
use prost::Message as _;

use crate::{
    types::{self, StoredMembership},
    wire,
};

pub(super) const TARGET: Target = Target {
    name: "applied-state",
    seeds,
    decode,
    // Applied up to the highest index there is.
    found: &[b"\x0a\x0d\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
    rounds: 3000,
};

fn seeds() -> Vec<Vec<u8>> {
    let at = super::position();
    let stored = StoredMembership::new(Some(at), super::membership());
    vec![
        wire::applied_state(Some(&at), &stored).encode_to_vec(),
        wire::applied_state(None, &StoredMembership::default()).encode_to_vec(),
    ]
}

fn decode(input: &[u8]) -> Outcome {
    let read = |bytes: &[u8]| wire::decode_meta(Some(bytes.to_vec().into()));
    let meta = read(input);
    if let Ok(meta) = &meta {
        let again = wire::applied_state(meta.last_log_id.as_ref(), &meta.last_membership);
        // The next entry is one further.
        let applied = types::Applied::from(meta.last_log_id.as_ref());
        assert!(applied.next > applied.index() || applied.next == 0);
        assert_eq!(read(&again.encode_to_vec()).expect("it was written here"), *meta);
    }
    Outcome::from(&meta)
}
