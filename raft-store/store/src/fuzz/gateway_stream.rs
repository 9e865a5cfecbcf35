//! Requests in JSON one after the other: the same ones in whatever pieces they come.

use bytes::Bytes;
use fuzz::{Outcome, Target};

use crate::gateway::message::Values;

pub(super) const TARGET: Target =
    Target { name: "gateway-stream", seeds, decode, found: &[], rounds: 3000 };

/// The first byte is the length of the pieces.
fn seeds() -> Vec<Vec<u8>> {
    let streams = [
        "\x01{\"a\":1} {\"b\":\"}\\\"{\"}\n{}",
        "\x07{\"create_request\":{\"key\":\"YQ==\"}}{\"cancel_request\":{\"watch_id\":1}}",
        "\x03 {\"deep\":[[{\"x\":[]}]]}\r\n",
    ];
    streams.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn decode(input: &[u8]) -> Outcome {
    let Some((size, text)) = input.split_first() else { return Outcome::Refused };
    let (pieces, whole) = (read(text, usize::from(*size).max(1)), read(text, usize::MAX));
    assert_eq!(pieces, whole);
    if whole.1 && !whole.0.is_empty() { Outcome::Taken } else { Outcome::Refused }
}

/// The values of a text that comes in pieces, and whether all of it was understood.
fn read(text: &[u8], size: usize) -> (Vec<Bytes>, bool) {
    let (mut values, mut found) = (Values::default(), Vec::new());
    for piece in text.chunks(size) {
        values.push(piece);
        loop {
            match values.next() {
                Ok(Some(value)) => found.push(value),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    (found, values.finish().is_ok())
}
