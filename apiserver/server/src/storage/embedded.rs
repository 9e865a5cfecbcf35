//! The store of this very process: no network, no second cache; what it returns shares the store's bytes.

use async_trait::async_trait;
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::mvccpb::KeyValue;
use store::{Handle, WatchBatch, WatchSpec, Watcher};
use tokio::sync::{broadcast, watch};
use tonic::Code;

use super::{Batch, Compare, Error, Event, Got, Item, Outcome, Page, Range, Storage, Txn, Watch};

/// Storage on a [`Handle`].
pub struct Embedded {
    handle: Handle,
}

impl Embedded {
    /// Storage on the store of this process.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let text = error.to_string();
        match error {
            store::Error::Compacted => Self::Compacted,
            store::Error::FutureRevision => Self::Future,
            store::Error::RequestTooLarge => Self::TooLarge(text),
            store::Error::Timeout | store::Error::TimeoutApplied => Self::Timeout(text),
            other if other.code() == Code::Unavailable => Self::Unavailable(text),
            _ => Self::Other(text),
        }
    }
}

pub(super) fn item(kv: KeyValue) -> Item {
    Item { key: kv.key, value: kv.value, revision: kv.mod_revision, lease: kv.lease }
}

pub(super) fn revision(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn compare(wanted: &Compare) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (target, union) = match wanted {
        Compare::Revision(_, revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Compare::Value(_, value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
    };
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: wanted.key().clone(),
        target_union: Some(union),
        range_end: Bytes::new(),
    }
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// A transaction in the store's words: on failure it reads what was compared.
pub(super) fn request(txn: Txn) -> pb::TxnRequest {
    use pb::request_op::Request;
    let kept: Vec<&Bytes> = txn.puts.iter().map(|(key, _, _)| key).collect();
    let deletes = txn.deletes.iter().filter(|key| !kept.contains(key)).cloned();
    let deletes = deletes.map(|key| {
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, ..Default::default() }))
    });
    let mut success: Vec<pb::RequestOp> = deletes.collect();
    success.extend(txn.puts.into_iter().map(|(key, value, lease)| {
        op(Request::RequestPut(pb::PutRequest { key, value, lease, ..Default::default() }))
    }));
    let failure = txn.compares.iter().map(|compare| {
        let key = compare.key().clone();
        op(Request::RequestRange(pb::RangeRequest { key, ..Default::default() }))
    });
    pb::TxnRequest {
        failure: failure.collect(),
        compare: txn.compares.iter().map(compare).collect(),
        success,
    }
}

/// What an answer to such a transaction says.
pub(super) fn outcome(response: pb::TxnResponse) -> Outcome {
    if response.succeeded {
        return Outcome::Committed(revision(response.header.as_ref()));
    }
    let current = response.responses.into_iter().map(|op| match op.response {
        Some(pb::response_op::Response::ResponseRange(range)) => {
            range.kvs.into_iter().next().map(item)
        }
        _ => None,
    });
    Outcome::Failed(current.collect())
}

#[async_trait]
impl Storage for Embedded {
    async fn barrier(&self) -> Result<i64, Error> {
        Ok(self.handle.barrier().await?)
    }

    fn revision(&self) -> i64 {
        self.handle.revision()
    }

    async fn get(&self, key: &Bytes) -> Result<Got, Error> {
        let request =
            pb::RangeRequest { key: key.clone(), serializable: true, ..Default::default() };
        let response = self.handle.range(request).await?;
        let revision = revision(response.header.as_ref());
        Ok(Got { item: response.kvs.into_iter().next().map(item), revision })
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let request = pb::RangeRequest {
            key: range.start,
            range_end: range.end,
            limit: i64::try_from(range.limit).unwrap_or(0),
            revision: range.revision,
            count_only: range.count_only,
            serializable: true,
            ..Default::default()
        };
        let response = self.handle.range(request).await?;
        Ok(Page {
            revision: revision(response.header.as_ref()),
            more: response.more,
            count: usize::try_from(response.count).unwrap_or(0),
            items: response.kvs.into_iter().map(item).collect(),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome, Error> {
        Ok(outcome(self.handle.txn(request(txn)).await?))
    }

    async fn watch(&self, start: Bytes, end: Bytes, from: i64) -> Result<Box<dyn Watch>, Error> {
        let spec = WatchSpec {
            key: start,
            range_end: end,
            start_revision: from,
            prev_kv: true,
            ..WatchSpec::default()
        };
        Ok(Box::new(Cursor(self.handle.watch(spec))))
    }

    async fn lease(&self, seconds: i64) -> Result<i64, Error> {
        Ok(self.handle.lease_grant(seconds, 0).await?.id)
    }

    async fn lease_keep_alive(&self, id: i64) -> Result<(), Error> {
        self.handle.lease_keep_alive(id).await?;
        Ok(())
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), Error> {
        match self.handle.lease_revoke(id).await {
            Ok(()) | Err(store::Error::LeaseNotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn leading(&self) -> watch::Receiver<bool> {
        self.handle.leading()
    }

    fn member(&self) -> u64 {
        self.handle.id()
    }

    fn peer_down(&self) -> Option<broadcast::Receiver<u64>> {
        Some(self.handle.peer_down())
    }
}

/// A watch of the store.
struct Cursor(Watcher);

#[async_trait]
impl Watch for Cursor {
    async fn next(&mut self) -> Option<Batch> {
        match self.0.next().await? {
            WatchBatch::Compacted(_) => Some(Batch::Compacted),
            WatchBatch::Events { revision, events } => {
                let events = events.into_iter().map(|event| Event {
                    key: event.kv.key.clone(),
                    revision: event.kv.mod_revision,
                    value: (!event.deleted).then(|| event.kv.value.clone()),
                    previous: event.prev.as_ref().map(|kv| (kv.value.clone(), kv.mod_revision)),
                });
                Some(Batch::Events { revision, events: events.collect() })
            }
        }
    }

    fn progress(&self) -> Option<i64> {
        self.0.progress()
    }
}
