//! What only the leader can say about leases, and how other members ask it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use consensus::LeaderService;
use parking_lot::Mutex;
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseCheckpoint, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use tokio::{sync::Notify, time::Instant};

use super::{checkpoints, clocks::Clocks};
use crate::{apply::LeaseChange, corrupt, metrics, state::Cell};

/// First byte of a request to renew a lease.
const RENEW: u8 = 1;
/// First byte of a question what a lease still has.
const LEFT: u8 = 2;

/// Keeps the clocks and answers for them.
pub(crate) struct Lessor {
    cell: Arc<Cell>,
    clocks: Mutex<Clocks>,
    /// Woken when a lease may end earlier than any before.
    pub(super) sooner: Notify,
    /// For metrics.
    pub(crate) counts: metrics::Leases,
    /// Set while the member runs: consensus holds the lessor too.
    consensus: Mutex<Option<consensus::WeakHandle>>,
}

impl Lessor {
    pub(crate) fn new(cell: Arc<Cell>) -> Self {
        Self {
            cell,
            clocks: Mutex::default(),
            sooner: Notify::new(),
            counts: metrics::Leases::default(),
            consensus: Mutex::default(),
        }
    }

    /// Gives it consensus, which needs it to start; takes it away at the end.
    pub(crate) fn set_consensus(&self, consensus: Option<consensus::Handle>) {
        *self.consensus.lock() = consensus.map(|consensus| consensus.downgrade());
    }

    /// Begins to count, or stops.
    pub(crate) fn lead(&self, term: Option<u64>) {
        let Some(term) = term else { return self.clocks.lock().stop() };
        let state = self.cell.load();
        let mut clocks = self.clocks.lock();
        let leases = state.leases.read();
        let all = leases.iter().map(|(id, lease)| {
            let left = if lease.remaining > 0 { lease.remaining } else { lease.ttl };
            (id, lease.ttl, left)
        });
        clocks.begin(Instant::now(), term, all);
        self.sooner.notify_one();
    }

    /// Takes note of what the log did to leases.
    pub(crate) fn follow(&self, changes: &[LeaseChange]) {
        if changes.is_empty() {
            return;
        }
        let mut clocks = self.clocks.lock();
        for change in changes {
            match *change {
                LeaseChange::Granted(id, ttl) => {
                    self.counts.grant(ttl);
                    if clocks.granted(Instant::now(), id, ttl) {
                        self.sooner.notify_one();
                    }
                }
                LeaseChange::Revoked(id) => {
                    self.counts.revoke();
                    clocks.revoked(id);
                }
            }
        }
    }

    pub(super) fn term(&self) -> Option<u64> {
        self.clocks.lock().term()
    }

    pub(super) fn next_end(&self) -> Option<Instant> {
        self.clocks.lock().next_end()
    }

    pub(super) fn take_ended(&self, limit: usize) -> Vec<i64> {
        self.clocks.lock().take_ended(Instant::now(), limit)
    }

    /// What leases still have that were not renewed for so long.
    pub(super) fn unrenewed(&self, for_long: Duration) -> Vec<LeaseCheckpoint> {
        self.clocks.lock().unrenewed(Instant::now(), for_long)
    }

    pub(super) fn retry(&self, id: i64, after: Duration) {
        self.clocks.lock().retry(id, Instant::now() + after);
    }

    fn consensus(&self) -> Result<consensus::Handle, consensus::Error> {
        let consensus = self.consensus.lock().as_ref().and_then(consensus::WeakHandle::upgrade);
        consensus.ok_or(consensus::Error::NotLeader)
    }

    /// Makes sure that this member still leads the term of its clocks: another leader may have
    /// begun to count anew.
    async fn confirm(&self) -> Result<u64, consensus::Error> {
        let term = self.term().ok_or(consensus::Error::NotLeader)?;
        let consensus = self.consensus()?;
        consensus.read_index().await?;
        if self.term() == Some(term) { Ok(term) } else { Err(consensus::Error::NotLeader) }
    }

    async fn renew(&self, id: i64) -> Result<LeaseKeepAliveResponse, consensus::Error> {
        let term = self.confirm().await?;
        self.forget_remaining(term, id).await?;
        let mut clocks = self.clocks.lock();
        if clocks.term() != Some(term) {
            return Err(consensus::Error::NotLeader);
        }
        let renewed = clocks.renew(Instant::now(), id);
        if renewed.is_some() {
            self.counts.renew();
        }
        let ttl = renewed.unwrap_or(0);
        Ok(LeaseKeepAliveResponse { header: None, id, ttl })
    }

    /// Takes back what was written down about the remaining time of a lease that is renewed.
    async fn forget_remaining(&self, term: u64, id: i64) -> Result<(), consensus::Error> {
        let remaining = self.cell.load().leases.read().get(id).map_or(0, |lease| lease.remaining);
        if remaining == 0 {
            return Ok(());
        }
        let consensus = self.consensus()?;
        let entry = checkpoints::entry(vec![LeaseCheckpoint { id, remaining_ttl: 0 }]);
        consensus.propose_in_term(term, entry).await
    }

    async fn left(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, consensus::Error> {
        self.confirm().await?;
        let id = request.id;
        let mut response = LeaseTimeToLiveResponse { id, ttl: -1, ..Default::default() };
        let left = self.clocks.lock().left(Instant::now(), id);
        let state = self.cell.load();
        let leases = state.leases.read();
        if let (Some(left), Some(lease)) = (left, leases.get(id)) {
            response.ttl = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            response.granted_ttl = lease.ttl;
            if request.keys {
                response.keys = lease.keys.iter().cloned().collect();
            }
        }
        Ok(response)
    }
}

/// A question to the leader.
pub(super) fn renew_request(id: i64) -> Bytes {
    with_kind(RENEW, &LeaseKeepAliveRequest { id })
}

/// A question to the leader.
pub(super) fn left_request(id: i64, keys: bool) -> Bytes {
    with_kind(LEFT, &LeaseTimeToLiveRequest { id, keys })
}

fn with_kind(kind: u8, message: &impl prost::Message) -> Bytes {
    let mut bytes = vec![kind];
    message.encode(&mut bytes).expect("a vector grows as needed");
    bytes.into()
}

#[async_trait]
impl LeaderService for Lessor {
    async fn ask(&self, request: Bytes) -> Result<Bytes, consensus::Error> {
        corrupt::answer(self.cell.clone(), request).await
    }

    async fn call(&self, mut request: Bytes) -> Result<Bytes, consensus::Error> {
        let unknown = || consensus::Error::Remote("a request that is not understood".to_owned());
        if request.is_empty() {
            return Err(unknown());
        }
        let message = request.split_off(1);
        match request[0] {
            RENEW => {
                let request = LeaseKeepAliveRequest::decode(message).map_err(|_| unknown())?;
                Ok(self.renew(request.id).await?.encode_to_vec().into())
            }
            LEFT => {
                let request = LeaseTimeToLiveRequest::decode(message).map_err(|_| unknown())?;
                Ok(self.left(request).await?.encode_to_vec().into())
            }
            _ => Err(unknown()),
        }
    }
}
