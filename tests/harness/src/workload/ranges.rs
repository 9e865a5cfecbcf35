//! Ranges over all keys, and two keys that are changed together.

use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::request_op::Request as Ask;
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::{ANSWER, PAUSE, Recorder};
use crate::store::MEMBERS;

/// The two keys.
pub(super) const PAIR: [&str; 2] = ["p0", "p1"];

/// What a range over all keys said.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) revision: i64,
    /// Revision and value of each key.
    pub(super) keys: BTreeMap<String, (i64, String)>,
    pub(super) serializable: bool,
    pub(super) called: u64,
    pub(super) returned: u64,
}

/// A change of both keys that was acknowledged.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) revision: i64,
    /// What both hold then.
    pub(super) value: Option<String>,
    pub(super) called: u64,
    pub(super) returned: u64,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads everything until told to stop, one time in three what a member has without asking others.
pub(super) async fn read(channels: Vec<Channel>, seed: u64, recorder: Recorder) {
    let mut random = StdRng::seed_from_u64(seed ^ 0x5241);
    while !recorder.is_over() {
        let serializable = random.random_ratio(1, 3);
        let mut client = KvClient::new(channels[random.random_range(0..MEMBERS)].clone());
        let request = RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            serializable,
            ..RangeRequest::default()
        };
        let called = recorder.now();
        let answer = timeout(ANSWER, client.range(request)).await;
        let returned = recorder.now();
        match answer {
            Ok(Ok(answer)) => {
                let RangeResponse { header, kvs, .. } = answer.into_inner();
                let revision = header.map_or(0, |header| header.revision);
                let keys = kvs
                    .iter()
                    .map(|kv| (text(&kv.key), (kv.mod_revision, text(&kv.value))))
                    .collect();
                let snapshot = Snapshot { revision, keys, serializable, called, returned };
                recorder.told.lock().snapshots.push(snapshot);
                sleep(Duration::from_millis(random.random_range(0..40))).await;
            }
            Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Puts a value into both keys, or deletes both, until told to stop.
pub(super) async fn write(channels: Vec<Channel>, seed: u64, recorder: Recorder) {
    let mut random = StdRng::seed_from_u64(seed ^ 0x5057);
    let mut number = 0;
    while !recorder.is_over() {
        number += 1;
        let value = random.random_ratio(4, 5).then(|| format!("both-{number}"));
        let operation = |key: &str| {
            let key = key.as_bytes().to_vec().into();
            let ask = match &value {
                Some(value) => {
                    let value = value.clone().into();
                    Ask::RequestPut(PutRequest { key, value, ..PutRequest::default() })
                }
                None => {
                    let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
                    Ask::RequestDeleteRange(request)
                }
            };
            RequestOp { request: Some(ask) }
        };
        let success = PAIR.map(operation).to_vec();
        let request = TxnRequest { success, ..TxnRequest::default() };
        let mut client = KvClient::new(channels[random.random_range(0..MEMBERS)].clone());
        let called = recorder.now();
        match timeout(ANSWER, client.txn(request)).await {
            Ok(Ok(answer)) => {
                let returned = recorder.now();
                let revision = answer.into_inner().header.map_or(0, |header| header.revision);
                // A deletion of nothing makes no revision, and may find one that is not its own.
                if value.is_some() {
                    let pair = Pair { revision, value, called, returned };
                    recorder.told.lock().pairs.push(pair);
                }
                sleep(Duration::from_millis(random.random_range(0..30))).await;
            }
            Ok(Err(status)) => {
                recorder.see(&status);
                sleep(PAUSE).await;
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
