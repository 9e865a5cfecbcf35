//! Queues of keys under one prefix, which locks and elections are: whoever's key was created
//! first is at the front, and a key lives as long as its lease.
//!
//! ```text
//! name/694d81e1   created at revision 7   at the front: holds the lock, is elected
//! name/3b2f00aa   created at revision 9   waits until nothing older is left
//! ```
//!
//! Everything is asked through the services, with the caller's metadata: what the caller may not
//! do, its lock may not do either.

use bytes::Bytes;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, PutRequest, RangeRequest,
    RangeResponse, RequestOp, ResponseHeader, TxnRequest, TxnResponse,
    compare::{CompareResult, CompareTarget, TargetUnion},
    kv_server::Kv,
    lease_server::Lease,
    range_request::{SortOrder, SortTarget},
    request_op,
};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Status, metadata::MetadataMap};

use super::Service;
use crate::{Error, WatchBatch, WatchSpec};

/// Seconds of a lease that the caller did not bring.
const DEFAULT_TTL: i64 = 60;
/// Pause before a failed renewal is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Who asks: the services with the metadata of one call.
#[derive(Clone)]
pub(super) struct Caller {
    service: Service,
    metadata: MetadataMap,
    extensions: http::Extensions,
}

impl Caller {
    /// Checks what every service checks, and keeps who asks.
    pub(super) fn of<T>(service: &Service, request: &Request<T>) -> Result<Self, Status> {
        service.check_leader(request)?;
        service.check_learner()?;
        Ok(Self {
            service: service.clone(),
            metadata: request.metadata().clone(),
            extensions: request.extensions().clone(),
        })
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), self.extensions.clone(), message)
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        Ok(Kv::txn(&self.service, self.ask(request)).await.map_err(unknown)?.into_inner())
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        Ok(Kv::range(&self.service, self.ask(request)).await.map_err(unknown)?.into_inner())
    }

    pub(super) async fn delete(&self, key: Bytes) -> Result<DeleteRangeResponse, Status> {
        let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        let deleted = Kv::delete_range(&self.service, self.ask(request)).await;
        Ok(deleted.map_err(unknown)?.into_inner())
    }

    /// A lease that is renewed while the session lives: the caller's, or a new one for 0.
    pub(super) async fn session(&self, lease: i64) -> Result<Session, Status> {
        let lease = match lease {
            0 => {
                let request = self.ask(LeaseGrantRequest { ttl: DEFAULT_TTL, id: 0 });
                let granted = Lease::lease_grant(&self.service, request).await;
                granted.map_err(unknown)?.into_inner().id
            }
            lease => lease,
        };
        // As the caller: a lease that is not its own is not renewed.
        let handle = self.service.client(&self.ask(()));
        let renewing = stdx::task::spawn("store-session", async move {
            loop {
                let pause = match handle.lease_keep_alive(lease).await {
                    Ok(ttl) => Duration::from_secs(u64::try_from(ttl).unwrap_or(1)) / 3,
                    Err(Error::LeaseNotFound | Error::Stopped | Error::Auth(_)) => return,
                    Err(_) => RETRY,
                };
                tokio::time::sleep(pause).await;
            }
        });
        Ok(Session { lease, _renewing: AbortOnDropHandle::new(renewing) })
    }

    /// The oldest key of a queue, if there is one.
    pub(super) async fn front(&self, prefix: &Bytes) -> Result<RangeResponse, Status> {
        self.range(front(prefix)).await
    }

    /// Waits until a queue holds no key that was created at or before a revision.
    pub(super) async fn wait_turn(&self, prefix: &Bytes, before: i64) -> Result<(), Status> {
        loop {
            let newest = RangeRequest {
                key: prefix.clone(),
                range_end: end_of(prefix),
                limit: 1,
                sort_order: SortOrder::Descend.into(),
                sort_target: SortTarget::Create.into(),
                max_create_revision: before,
                ..RangeRequest::default()
            };
            let found = self.range(newest).await?;
            let Some(kv) = found.kvs.into_iter().next() else { return Ok(()) };
            let revision = found.header.map_or(0, |header| header.revision);
            self.wait_deletion(kv.key, revision).await?;
        }
    }

    /// Waits until a key is deleted after a revision; when that history is gone, the caller looks
    /// again.
    async fn wait_deletion(&self, key: Bytes, revision: i64) -> Result<(), Status> {
        let spec =
            WatchSpec { key, start_revision: revision + 1, no_put: true, ..WatchSpec::default() };
        let mut watcher = self.service.handle.watch(spec);
        let stop = self.service.handle.inner.shutdown.clone();
        match stop.guard(watcher.next()).await {
            Some(Some(WatchBatch::Events { .. } | WatchBatch::Compacted(_))) => Ok(()),
            Some(None) | None => Err(unknown(Error::Stopped.into())),
        }
    }

    /// Follows keys.
    pub(super) fn watch(&self, spec: WatchSpec) -> crate::Watcher {
        self.service.handle.watch(spec)
    }

    /// Resolves when this member ends.
    pub(super) fn stop(&self) -> stdx::Shutdown {
        self.service.handle.inner.shutdown.clone()
    }

    /// A header of now with the revision of something that was found.
    pub(super) fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader { revision, ..self.service.handle.header() }
    }
}

/// A lease that is kept alive; its renewal ends with it, the lease does not.
pub(super) struct Session {
    /// The lease.
    pub(super) lease: i64,
    _renewing: AbortOnDropHandle<()>,
}

/// A key that leaves the queue when the call that put it there is given up.
pub(super) struct Place {
    caller: Caller,
    key: Option<Bytes>,
}

impl Place {
    /// A key whose call still waits.
    pub(super) fn new(caller: &Caller, key: &Bytes) -> Self {
        Self { caller: caller.clone(), key: Some(key.clone()) }
    }

    /// The call has its answer: the key stays.
    pub(super) fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let caller = self.caller.clone();
        stdx::task::spawn("store-leave-queue", async move {
            if let Err(status) = caller.delete(key).await {
                tracing::debug!(%status, "a place in a queue was not given up");
            }
        });
    }
}

/// The prefix of a queue's keys.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of a lease in a queue.
pub(super) fn key(prefix: &[u8], lease: i64) -> Bytes {
    // Go prints a negative number in hex with its sign.
    let sign = if lease < 0 { "-" } else { "" };
    [prefix, format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}

/// Compares when a key was created; 0 is never.
pub(super) fn created(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

/// Puts a key on a lease.
pub(super) fn put(key: &Bytes, value: &Bytes, lease: i64) -> RequestOp {
    let put = PutRequest { key: key.clone(), value: value.clone(), lease, ..PutRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

/// Reads keys.
pub(super) fn get(request: RangeRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestRange(request)) }
}

/// The oldest key of a queue.
pub(super) fn front(prefix: &Bytes) -> RangeRequest {
    RangeRequest {
        key: prefix.clone(),
        range_end: end_of(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..RangeRequest::default()
    }
}

/// One key.
pub(super) fn only(key: &Bytes) -> RangeRequest {
    RangeRequest { key: key.clone(), ..RangeRequest::default() }
}

/// The first key behind a prefix, which ends in `/`.
pub(super) fn end_of(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// An error as etcd's lock and election services give it: the text without the code.
fn unknown(status: Status) -> Status {
    Status::new(Code::Unknown, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_etcds_are() {
        let prefix = prefix(b"my");
        assert_eq!(key(&prefix, 0x694d_81e1), "my/694d81e1");
        assert_eq!(key(&prefix, -1), "my/-1");
        assert_eq!(end_of(&prefix), "my0");
    }
}
