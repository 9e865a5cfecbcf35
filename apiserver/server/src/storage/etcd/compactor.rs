//! Forgets old revisions, so that the store does not grow for ever. Of all API servers on a store, one does it:
//! who first moves the shared key `compact_rev_key` on. Upstream's servers elect with the same key.
//!
//! What is compacted is what was the present one interval before: watches and lists have that long to go on.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;

use super::Inner;
use crate::storage::{Error, embedded};

/// The key: its version counts compactions, its value is the revision that was the present at the last.
const KEY: &[u8] = b"compact_rev_key";

/// What this server knows of the last election.
#[derive(Default)]
pub(super) struct Round {
    /// The key's version.
    version: i64,
    /// The revision to compact next time.
    revision: i64,
}

/// Takes part until shutdown.
pub(super) async fn run(inner: Arc<Inner>, every: Duration, shutdown: Shutdown) {
    let mut round = Round::default();
    while shutdown.guard(tokio::time::sleep(every)).await.is_some() {
        match shutdown.guard(once(&inner, &mut round)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "the store was not compacted"),
            None => return,
        }
    }
}

/// One election, and the compaction of whoever wins it.
pub(super) async fn once(inner: &Inner, round: &mut Round) -> Result<(), Error> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    use pb::request_op::Request;
    let key = Bytes::from_static(KEY);
    let op = |request| pb::RequestOp { request: Some(request) };
    let value: Bytes = round.revision.to_string().into();
    let request = pb::TxnRequest {
        compare: vec![pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Version.into(),
            key: key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::Version(round.version)),
        }],
        success: vec![op(Request::RequestPut(pb::PutRequest {
            key: key.clone(),
            value,
            ..Default::default()
        }))],
        failure: vec![op(Request::RequestRange(pb::RangeRequest { key, ..Default::default() }))],
    };
    // Sent twice, it fails the second time: then nobody compacts in this round.
    let call = |at: usize| {
        let (mut kv, request) = (inner.endpoints.kv(at), request.clone());
        async move { kv.txn(request).await }
    };
    let response = inner.endpoints.call(call).await?.into_inner();
    let present = inner.learn(response.header.as_ref());
    let old = std::mem::replace(&mut round.revision, present);
    inner.leading.send_replace(response.succeeded);
    if !response.succeeded {
        let found = response.responses.into_iter().find_map(|op| match op.response? {
            pb::response_op::Response::ResponseRange(range) => range.kvs.into_iter().next(),
            _ => None,
        });
        round.version = found.map_or(0, |kv| kv.version);
        return Ok(());
    }
    round.version += 1;
    if old == 0 {
        return Ok(());
    }
    let request = pb::CompactionRequest { revision: old, physical: false };
    let call = |at: usize| {
        let mut kv = inner.endpoints.kv(at);
        async move { kv.compact(request).await }
    };
    match inner.endpoints.call(call).await {
        Ok(response) => {
            let header = response.into_inner().header;
            tracing::debug!(revision = old, now = embedded::revision(header.as_ref()), "compacted");
            Ok(())
        }
        // Somebody else went further.
        Err(Error::Compacted) => Ok(()),
        Err(error) => Err(error),
    }
}
