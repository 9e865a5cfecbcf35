//! The leader's loop: whatever has run out is revoked through the log, in groups.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{InternalRaftRequest, LeaseRevokeRequest};

use super::Lessor;

/// Leases revoked at once; each is an entry of its own, all of them are one write of the log.
const GROUP: usize = 1000;
/// Pause before a revocation is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait without a look at the clocks.
const LOOK: Duration = Duration::from_secs(60);

/// Revokes leases for as long as it runs; does nothing while another member leads.
pub(crate) async fn run(lessor: Arc<Lessor>, consensus: consensus::Handle) {
    loop {
        let wait = match lessor.next_end() {
            Some(end) => end,
            None => tokio::time::Instant::now() + LOOK,
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(wait) => {}
            () = lessor.sooner.notified() => continue,
        }
        let Some(term) = lessor.term() else { continue };
        let ended = lessor.take_ended(GROUP);
        let revoking = ended.iter().map(|id| consensus.propose_in_term(term, revocation(*id)));
        let outcomes = futures::future::join_all(revoking).await;
        let mut failed = 0;
        for (id, outcome) in ended.iter().zip(outcomes) {
            if outcome.is_err() {
                failed += 1;
                lessor.retry(*id, RETRY);
            }
        }
        lessor.counts.expire((ended.len() - failed) as u64);
        if !ended.is_empty() {
            tracing::debug!(count = ended.len(), failed, "leases ended");
        }
    }
}

fn revocation(id: i64) -> Bytes {
    let lease_revoke = Some(LeaseRevokeRequest { id });
    InternalRaftRequest { lease_revoke, ..InternalRaftRequest::default() }.encode_to_vec().into()
}
