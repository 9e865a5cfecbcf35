//! The remaining time of long leases, written into the log now and then: without it a change of
//! leaders gives every lease all its time again, and one that nobody renews may never end.
//!
//! Off unless etcd's feature gate says otherwise, as in etcd: it costs log entries.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest};

use super::Lessor;

/// Leases in one log entry.
const GROUP: usize = 1000;

/// Writes down, for ever, what leases still have that were not renewed for so long; does nothing
/// while another member leads.
pub(crate) async fn run(lessor: Arc<Lessor>, consensus: consensus::Handle, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(term) = lessor.term() else { continue };
        for group in lessor.unrenewed(every).chunks(GROUP) {
            if let Err(error) = consensus.propose_in_term(term, entry(group.to_vec())).await {
                tracing::debug!(error = stdx::chain(&error), "leases' times not written down");
            }
        }
    }
}

/// A log entry with what leases still have; 0 is all their time.
pub(super) fn entry(checkpoints: Vec<LeaseCheckpoint>) -> Bytes {
    let lease_checkpoint = Some(LeaseCheckpointRequest { checkpoints });
    InternalRaftRequest { lease_checkpoint, ..Default::default() }.encode_to_vec().into()
}
