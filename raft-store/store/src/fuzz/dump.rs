//! Entries of the log as `dump-log` prints them.

use std::sync::LazyLock;

use consensus::{Entry, Payload};
use fuzz::{Outcome, Target};
use prost_reflect::MessageDescriptor;

use crate::dump;

static KIND: LazyLock<MessageDescriptor> = LazyLock::new(dump::kind);

pub(super) const TARGET: Target = Target {
    name: "dump",
    seeds: super::request::seeds,
    decode,
    found: super::request::TARGET.found,
    rounds: 1000,
};

fn decode(input: &[u8]) -> Outcome {
    let payload = Payload::Normal(input.to_vec().into());
    let mut line = Vec::new();
    let written = dump::line(&KIND, Entry { index: 7, term: 2, payload }, &mut line);
    if written.is_ok() {
        let value: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
        assert_eq!(value["index"], 7);
        assert!(value["request"].is_object() && line.ends_with(b"\n"));
    }
    Outcome::from(&written)
}
