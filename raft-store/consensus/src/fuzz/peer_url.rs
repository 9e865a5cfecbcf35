//! Where members say that they are.

use fuzz::{Outcome, Target};

use crate::net::connector::host_port;

pub(super) const TARGET: Target =
    Target { name: "peer-url", seeds, decode, found: &[], rounds: 3000 };

fn seeds() -> Vec<Vec<u8>> {
    let urls = ["http://10.0.0.1:2380", "https://[2001:db8::1]:65535", "https://m1.example:1"];
    urls.map(|url| url.as_bytes().to_vec()).to_vec()
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(url) = std::str::from_utf8(input) else { return Outcome::Refused };
    Outcome::from(&host_port(url))
}
