//! URLs to listen on.

use fuzz::{Outcome, Target};

use crate::store::listen::ListenUrl;

pub(super) const TARGET: Target =
    Target { name: "listen-url", seeds, decode, found: &[], rounds: 3000 };

fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "http://127.0.0.1:2379",
        "https://[::1]:65535/",
        "unix:///tmp/x.sock",
        "unixs://localhost:m1",
    ])
}

/// What is taken is written as it was, but for a slash at the end and blanks around it.
fn decode(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let url = text.parse::<ListenUrl>();
    if let Ok(url) = &url {
        assert_eq!(url.text().parse::<ListenUrl>().ok().as_ref(), Some(url));
        assert!(text.contains(&url.text()));
        url.host();
    }
    Outcome::from(&url)
}
