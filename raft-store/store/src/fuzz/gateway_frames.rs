//! Messages in gRPC's frames, whatever pieces they come in.

use fuzz::{Outcome, Target};
use proto::etcdserverpb::PutRequest;

use super::gateway_json::{kind, message_of};
use crate::gateway::message::{Frames, frame};

pub(super) const TARGET: Target =
    Target { name: "gateway-frames", seeds, decode, found: &[], rounds: 3000 };

fn seeds() -> Vec<Vec<u8>> {
    let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    let framed = frame(&message_of("etcdserverpb.PutRequest", &put));
    // The first byte is the length of the pieces.
    vec![[&[200], &framed[..]].concat(), [&[3], &framed[..], &framed[..]].concat()]
}

fn decode(input: &[u8]) -> Outcome {
    let Some((size, content)) = input.split_first() else { return Outcome::Refused };
    let mut frames = Frames::new(kind("etcdserverpb.PutRequest"));
    let mut outcome = Outcome::Refused;
    for piece in content.chunks(usize::from(*size).max(1)) {
        frames.push(piece);
        loop {
            match frames.next() {
                Ok(Some(_)) => outcome = Outcome::Taken,
                Ok(None) => break,
                Err(_) => return Outcome::Refused,
            }
        }
    }
    outcome
}
