//! What other members ask: about leases, and what the data hashes to.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use consensus::LeaderService as _;
use fuzz::{Outcome, Target};
use prost::Message as _;
use proto::etcdserverpb::{HashKvRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest};
use tokio::runtime::{Builder, Runtime};

use crate::{
    lease::Lessor,
    state::{Cell, tests::Fixture},
};

pub(super) const TARGET: Target =
    Target { name: "member-question", seeds, decode, found: &[], rounds: 1000 };

static MEMBER: LazyLock<(Fixture, Lessor, Runtime)> = LazyLock::new(|| {
    let fixture = Fixture::new();
    fixture.put("a", "1");
    let lessor = Lessor::new(Arc::new(Cell::shared(fixture.state.clone())));
    (fixture, lessor, Builder::new_current_thread().build().expect("a runtime"))
});

/// The first byte says whether it is for this member or for the leader.
fn seeds() -> Vec<Vec<u8>> {
    let with = |head: &[u8], message: Vec<u8>| [head, &message].concat();
    vec![
        with(&[0], HashKvRequest { revision: 2 }.encode_to_vec()),
        with(&[1, 1], LeaseKeepAliveRequest { id: 7 }.encode_to_vec()),
        with(&[1, 2], LeaseTimeToLiveRequest { id: 7, keys: true }.encode_to_vec()),
    ]
}

fn decode(input: &[u8]) -> Outcome {
    let Some((first, request)) = input.split_first() else { return Outcome::Refused };
    let (_, lessor, runtime) = &*MEMBER;
    let request = Bytes::copy_from_slice(request);
    let answer = runtime.block_on(async {
        match first % 2 {
            0 => lessor.ask(request).await,
            _ => lessor.call(request).await,
        }
    });
    match answer {
        // Nobody leads here: the question was understood.
        Ok(_) | Err(consensus::Error::NotLeader) => Outcome::Taken,
        Err(_) => Outcome::Refused,
    }
}
