//! The setting that says which tokens there are.

use std::time::Duration;

use fuzz::{Outcome, Target};

use crate::auth::Tokens;

pub(super) const TARGET: Target =
    Target { name: "token-setting", seeds, decode, found: &[], rounds: 3000 };

fn seeds() -> Vec<Vec<u8>> {
    // The file is there wherever a process runs, and holds something.
    let jwt = "jwt,sign-method=HS256,priv-key=/proc/self/cmdline,ttl=1h2m3.5s";
    ["simple", "", jwt].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(setting) = std::str::from_utf8(input) else { return Outcome::Refused };
    // No other file is read: some never end.
    if setting.contains('/') && !setting.contains("=/proc/self/cmdline,") {
        return Outcome::Refused;
    }
    Outcome::from(&Tokens::new(setting, Duration::from_secs(1)))
}
