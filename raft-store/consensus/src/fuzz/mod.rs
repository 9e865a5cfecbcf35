//! What of the network and the disk is decoded in this crate, under fuzzing: one file and one row
//! each. `make fuzz TARGET=name` runs one for long.

mod append;
mod applied_state;
mod entry;
mod forward;
mod peer_url;
mod snapshot_chunk;
mod vote;

use fuzz::Target;

use crate::log::fuzz as log;
use crate::types::{LogId, Membership, Node};

const TARGETS: &[Target] = &[
    append::TARGET,
    applied_state::TARGET,
    entry::TARGET,
    forward::TARGET,
    peer_url::TARGET,
    snapshot_chunk::TARGET,
    vote::TARGET,
    log::acknowledged::TARGET,
    log::notes::TARGET,
];

#[test]
fn decoders_refuse_what_they_do_not_understand() {
    fuzz::run(TARGETS);
}

fn position() -> LogId {
    LogId::new_term_index(7, 300)
}

/// Members of a change under way, and a learner.
fn membership() -> Membership {
    let node = |id: u64| Node {
        name: format!("m{id}"),
        peer_urls: vec![format!("http://10.0.0.{id}:2380")],
        auto_promote: id == 4,
    };
    let nodes: std::collections::BTreeMap<u64, Node> = (1..=4).map(|id| (id, node(id))).collect();
    Membership::new(vec![[1, 2].into(), [2, 3].into()], nodes).expect("voters are members")
}
