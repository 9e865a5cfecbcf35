//! Keys of versions, which are etcd's, on our disk and in its files.

use fuzz::{Outcome, Target};

use crate::state::{
    Rev,
    key_kind::{parse_revision, revision_key},
};

pub(super) const TARGET: Target = Target {
    name: "revision-key",
    seeds,
    decode,
    // A mark that is none; no mark between the numbers.
    found: &[b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\x01x", b"\0\0\0\0\0\0\0\x02:\0\0\0\0\0\0\0\x01"],
    rounds: 3000,
};

fn seeds() -> Vec<Vec<u8>> {
    let rev = Rev { main: 2, sub: 1 };
    [false, true].map(|deleted| revision_key(rev, deleted)).to_vec()
}

fn decode(input: &[u8]) -> Outcome {
    let parsed = parse_revision(input);
    if let Ok((rev, deleted)) = parsed {
        assert_eq!(revision_key(rev, deleted), input);
    }
    Outcome::from(&parsed)
}
