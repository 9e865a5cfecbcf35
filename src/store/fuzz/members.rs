//! `--initial-cluster`.

use fuzz::{Outcome, Target};

use crate::masters::members;

pub(super) const TARGET: Target =
    Target { name: "initial-cluster", seeds, decode, found: &[], rounds: 3000 };

fn seeds() -> Vec<Vec<u8>> {
    super::texts(&["a=http://10.0.0.1:2380,b=https://[::1]:2380/,a=http://m.example:1"])
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    Outcome::from(&members(text))
}
