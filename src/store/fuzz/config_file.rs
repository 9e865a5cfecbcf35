//! Config files as etcd has them.

use fuzz::{Outcome, Target};

use crate::store::config_file::flags;

pub(super) const TARGET: Target =
    Target { name: "config-file", seeds, decode, found: &[], rounds: 2000 };

fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "name: m1\nheartbeat-interval: 100\nlog-outputs: [stderr, 1]\nforce-new-cluster: true\n",
        "client-transport-security:\n  cert-file: c.pem\n  client-cert-auth: true\nname: &a x\n",
        "",
    ])
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    Outcome::from(&flags(text))
}
