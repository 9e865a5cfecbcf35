//! A store over the network: any etcd v3 endpoints, a real etcd's or our own `trireme store`.
//!
//! All reads are linearizable, as the next read may go to another member. A write whose answer was lost is
//! looked for in the history of its key before anything is answered, and is sent again only when its compares
//! keep it from happening twice.
//!
//! Caveat: such a store ends leases after seconds at best, so there are no sessions here
//! ([`member`](Storage::member) is 0) and elections go by the times of their Leases.

mod compactor;
mod endpoints;
mod lost;
mod prefix;
mod watch;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use proto::etcdserverpb as pb;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use stdx::Shutdown;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;
use tonic::Status;

use self::endpoints::{Endpoints, Failure, PAUSE, WRITE};
use self::prefix::Prefix;
use super::{Error, Got, Outcome, Page, Range, Storage, Txn, Watch, embedded};

/// How long one request is tried on all endpoints.
const PATIENCE: Duration = Duration::from_secs(20);
/// Leases at least this long are shared by many keys: they are for objects that end by themselves.
const SHARED_FROM: i64 = 600;
/// For so long a shared lease takes further keys.
const SHARED_FOR: Duration = Duration::from_secs(60);
/// So many keys share a lease at most.
const SHARED_BY: usize = 1000;

/// Where the store is and how to talk to it.
#[derive(Debug, Clone)]
pub struct Config {
    /// URLs: http or https, host, port.
    pub servers: Vec<String>,
    /// The authority of the servers' certificates, PEM.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// What all keys begin with.
    pub prefix: String,
    /// Time between two compactions; zero is never.
    pub compaction: Duration,
}

impl Config {
    /// Upstream's defaults.
    pub fn new(servers: Vec<String>) -> Self {
        let compaction = Duration::from_secs(300);
        Self { servers, ca: None, cert: None, key: None, prefix: "/registry".into(), compaction }
    }
}

/// A lease that many keys share.
struct Lease {
    seconds: i64,
    id: i64,
    until: Instant,
    keys: usize,
}

/// What requests, watches and the compactor share.
struct Inner {
    endpoints: Endpoints,
    prefix: Prefix,
    /// The highest revision seen.
    known: AtomicI64,
    leading: Sender<bool>,
    lease: Mutex<Option<Lease>>,
}

/// Storage on etcd endpoints.
pub struct Etcd(Arc<Inner>);

impl Inner {
    /// Takes note of a revision; answers with it.
    fn learn(&self, header: Option<&pb::ResponseHeader>) -> i64 {
        let revision = embedded::revision(header);
        self.known.fetch_max(revision, Ordering::Relaxed);
        revision
    }

    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let call = |at: usize| {
            let (mut kv, request) = (self.endpoints.kv(at), request.clone());
            async move { kv.range(request).await }
        };
        let response = self.endpoints.call(call).await?.into_inner();
        self.learn(response.header.as_ref());
        Ok(response)
    }

    /// A linearizable point.
    async fn barrier(&self) -> Result<i64, Error> {
        // No such key: what matters is the header.
        let key = self.prefix.outer(&Bytes::from_static(b"/trireme/barrier"));
        let request = pb::RangeRequest { key, count_only: true, ..Default::default() };
        Ok(embedded::revision(self.range(request).await?.header.as_ref()))
    }

    /// Sends a transaction until its outcome is known, or can't be.
    async fn txn(self: &Arc<Self>, txn: Txn) -> Result<Outcome, Error> {
        let base = self.known.load(Ordering::Relaxed);
        let guard = lost::Guard::of(&txn);
        let request = embedded::request(txn);
        let end = Instant::now() + PATIENCE;
        let mut lost = false;
        let mut tries = 0;
        loop {
            let at = self.endpoints.current();
            let mut kv = self.endpoints.kv(at);
            let sent = endpoints::timed(WRITE, kv.txn(request.clone())).await;
            let error = match sent.map_err(|status| endpoints::failure(&status)) {
                Ok(response) => {
                    let response = response.into_inner();
                    self.learn(response.header.as_ref());
                    let outcome = embedded::outcome(response);
                    return match (lost, outcome, &guard) {
                        (true, Outcome::Failed(current), Some(guard)) => {
                            let found = guard.find(self, base).await?;
                            Ok(found.map_or(Outcome::Failed(current), Outcome::Committed))
                        }
                        (_, outcome, _) => Ok(outcome),
                    };
                }
                // Only the first answer says that nothing happened.
                Err(Failure::Refused(error)) if lost => {
                    return Err(Error::Timeout(error.to_string()));
                }
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::NotSent(text)) => text,
                Err(Failure::Unknown(text)) => {
                    self.endpoints.leave(at);
                    lost = true;
                    let Some(guard) = &guard else { return Err(Error::Timeout(text)) };
                    if let Some(revision) = guard.find(self, base).await? {
                        return Ok(Outcome::Committed(revision));
                    }
                    if !guard.is_once() {
                        return Err(Error::Timeout(text));
                    }
                    text
                }
            };
            self.endpoints.leave(at);
            tries += 1;
            if Instant::now() >= end {
                return Err(if lost { Error::Timeout(error) } else { Error::Unavailable(error) });
            }
            if tries % self.endpoints.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// A new lease.
    async fn grant(&self, seconds: i64) -> Result<i64, Error> {
        let call = |at: usize| {
            let mut lease = self.endpoints.lease(at);
            async move { lease.lease_grant(pb::LeaseGrantRequest { ttl: seconds, id: 0 }).await }
        };
        let response = self.endpoints.call(call).await?.into_inner();
        self.learn(response.header.as_ref());
        Ok(response.id)
    }

    /// A lease that other keys have too, if there is one.
    fn shared(&self, seconds: i64) -> Option<i64> {
        let mut lease = self.lease.lock();
        let lease = lease.as_mut().filter(|lease| {
            lease.seconds == seconds && lease.keys < SHARED_BY && Instant::now() < lease.until
        })?;
        lease.keys += 1;
        Some(lease.id)
    }
}

impl Etcd {
    /// Reaches the store and starts compacting it.
    pub async fn connect(config: &Config, shutdown: &Shutdown) -> Result<Self, Error> {
        let inner = Arc::new(Inner {
            endpoints: Endpoints::new(config)?,
            prefix: Prefix::new(&config.prefix),
            known: AtomicI64::new(0),
            leading: Sender::new(false),
            lease: Mutex::new(None),
        });
        inner.barrier().await?;
        if !config.compaction.is_zero() {
            let task = compactor::run(inner.clone(), config.compaction, shutdown.clone());
            stdx::task::spawn("compactor", task);
        }
        Ok(Self(inner))
    }
}

#[async_trait]
impl Storage for Etcd {
    async fn barrier(&self) -> Result<i64, Error> {
        self.0.barrier().await
    }

    fn revision(&self) -> i64 {
        self.0.known.load(Ordering::Relaxed)
    }

    async fn get(&self, key: &Bytes) -> Result<Got, Error> {
        let request = pb::RangeRequest { key: self.0.prefix.outer(key), ..Default::default() };
        let response = self.0.range(request).await?;
        let revision = embedded::revision(response.header.as_ref());
        let item = response.kvs.into_iter().next().map(embedded::item);
        Ok(Got { item: item.map(|item| self.0.prefix.inner_item(item)), revision })
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let request = pb::RangeRequest {
            key: self.0.prefix.outer(&range.start),
            range_end: self.0.prefix.outer(&range.end),
            limit: i64::try_from(range.limit).unwrap_or(0),
            revision: range.revision,
            count_only: range.count_only,
            ..Default::default()
        };
        let response = self.0.range(request).await?;
        let items = response.kvs.into_iter().map(embedded::item);
        Ok(Page {
            revision: embedded::revision(response.header.as_ref()),
            more: response.more,
            count: usize::try_from(response.count).unwrap_or(0),
            items: items.map(|item| self.0.prefix.inner_item(item)).collect(),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome, Error> {
        let outcome = Box::pin(self.0.txn(self.0.prefix.outer_txn(txn))).await?;
        Ok(match outcome {
            Outcome::Failed(current) => {
                let inner = |item: Option<_>| item.map(|item| self.0.prefix.inner_item(item));
                Outcome::Failed(current.into_iter().map(inner).collect())
            }
            committed @ Outcome::Committed(_) => committed,
        })
    }

    async fn watch(&self, start: Bytes, end: Bytes, from: i64) -> Result<Box<dyn Watch>, Error> {
        let bounds = (self.0.prefix.outer(&start), self.0.prefix.outer(&end));
        let cursor = watch::Cursor::open(self.0.clone(), bounds, from, watch::PROGRESS).await?;
        Ok(Box::new(cursor))
    }

    async fn lease(&self, seconds: i64) -> Result<i64, Error> {
        if seconds < SHARED_FROM {
            return self.0.grant(seconds).await;
        }
        if let Some(id) = self.0.shared(seconds) {
            return Ok(id);
        }
        let spare = i64::try_from(SHARED_FOR.as_secs()).unwrap_or(0);
        let id = self.0.grant(seconds + spare).await?;
        let until = Instant::now() + SHARED_FOR;
        *self.0.lease.lock() = Some(Lease { seconds, id, until, keys: 1 });
        Ok(id)
    }

    async fn lease_keep_alive(&self, id: i64) -> Result<(), Error> {
        let call = |at: usize| {
            let mut lease = self.0.endpoints.lease(at);
            async move {
                let one = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
                let mut answers = lease.lease_keep_alive(one).await?.into_inner();
                let ended = || Status::unavailable("the answer to a keep-alive is missing");
                answers.message().await?.ok_or_else(ended)
            }
        };
        let answer = self.0.endpoints.call(call).await?;
        self.0.learn(answer.header.as_ref());
        if answer.ttl > 0 {
            return Ok(());
        }
        Err(Error::Other("etcdserver: requested lease not found".to_owned()))
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), Error> {
        let call = |at: usize| {
            let mut lease = self.0.endpoints.lease(at);
            async move {
                match lease.lease_revoke(pb::LeaseRevokeRequest { id }).await {
                    Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
                    other => other.map(|_| ()),
                }
            }
        };
        self.0.endpoints.call(call).await
    }

    /// Whether this API server won the last election of the one that compacts; nothing else depends on a leader
    /// here.
    fn leading(&self) -> Receiver<bool> {
        self.0.leading.subscribe()
    }

    fn member(&self) -> u64 {
        0
    }
}
