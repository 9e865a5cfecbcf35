//! Tokens that clients show where they are words.

use std::time::Duration;

use fuzz::{Outcome, Target};

use crate::auth::Tokens;

pub(super) const TARGET: Target = Target {
    name: "simple-token",
    seeds: || vec![b"aBcDeFgHiJkLmNoP.42".to_vec()],
    decode,
    found: &[],
    rounds: 3000,
};

fn decode(input: &[u8]) -> Outcome {
    let Ok(token) = std::str::from_utf8(input) else { return Outcome::Refused };
    let tokens = Tokens::new("simple", Duration::from_secs(1)).expect("a good setting");
    // Nobody got one.
    assert_eq!(tokens.identify(token, 1), None);
    Outcome::from(&tokens.index(token))
}
