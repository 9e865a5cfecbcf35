//! Leases: granted, given two keys, kept alive for a while, then revoked or forgotten.

use futures::StreamExt as _;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::request_op::Request as Ask;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::{ANSWER, PAUSE, Recorder};
use crate::store::MEMBERS;
use crate::until;

/// Seconds that a lease has.
pub(super) const TTL: i64 = 2;

/// A lease's life as its client knows it.
#[derive(Debug)]
pub(super) struct Life {
    /// Beginning of its keys.
    pub(super) keys: String,
    /// When the last renewal that was acknowledged, or the grant, was asked for.
    pub(super) kept: u64,
    /// Whether anybody asked for its end.
    pub(super) is_revoked: bool,
    /// Whether a member said that it was gone, and when.
    pub(super) gone: Option<u64>,
}

/// Works until told to stop.
pub(super) async fn work(client: usize, channels: Vec<Channel>, seed: u64, recorder: Recorder) {
    let mut random = StdRng::seed_from_u64(seed ^ (0x4c45 + client as u64));
    let mut number = 0;
    while !recorder.is_over() {
        number += 1;
        let keys = format!("l{client}-{number}-");
        match live(keys, &channels, &mut random, &recorder).await {
            Some(life) => recorder.told.lock().lives.push(life),
            None => sleep(PAUSE).await,
        }
    }
}

/// One life; nothing if the lease was not granted.
async fn live(
    keys: String,
    channels: &[Channel],
    random: &mut StdRng,
    recorder: &Recorder,
) -> Option<Life> {
    let mut any = || channels[random.random_range(0..MEMBERS)].clone();
    let mut life = Life { keys, kept: recorder.now(), is_revoked: false, gone: None };
    let request = LeaseGrantRequest { ttl: TTL, id: 0 };
    let granted = timeout(ANSWER, LeaseClient::new(any()).lease_grant(request)).await.ok()?;
    let id = match granted {
        Ok(granted) => granted.into_inner().id,
        Err(status) => {
            recorder.see(&status);
            return None;
        }
    };
    let _ = timeout(ANSWER, KvClient::new(any()).txn(both_keys(&life.keys, id))).await;
    for _ in 0..random.random_range(0..6) {
        sleep(Duration::from_millis(random.random_range(100..700))).await;
        let channel = channels[random.random_range(0..MEMBERS)].clone();
        let called = recorder.now();
        match timeout(ANSWER, keep_alive(channel, id)).await.ok().flatten() {
            Some(0) => {
                life.gone = Some(recorder.now());
                break;
            }
            Some(_) => life.kept = called,
            None => {}
        }
        if recorder.is_over() {
            break;
        }
    }
    if random.random_bool(0.4) {
        life.is_revoked = true;
        let channel = channels[random.random_range(0..MEMBERS)].clone();
        let request = LeaseRevokeRequest { id };
        let _ = timeout(ANSWER, LeaseClient::new(channel).lease_revoke(request)).await;
    }
    Some(life)
}

fn both_keys(keys: &str, lease: i64) -> TxnRequest {
    let put = |at| {
        let key = format!("{keys}{at}").into();
        let put = PutRequest { key, value: "leased".into(), lease, ..PutRequest::default() };
        RequestOp { request: Some(Ask::RequestPut(put)) }
    };
    TxnRequest { success: [0, 1].map(put).to_vec(), ..TxnRequest::default() }
}

/// Renews a lease; the seconds that it has now, 0 if it is gone, nothing without an answer.
async fn keep_alive(channel: Channel, id: i64) -> Option<i64> {
    let requests = futures::stream::iter([LeaseKeepAliveRequest { id }]);
    let requests = requests.chain(futures::stream::pending());
    let mut answers = LeaseClient::new(channel).lease_keep_alive(requests).await.ok()?.into_inner();
    Some(answers.message().await.ok()??.ttl)
}

/// Waits until every lease's keys are gone.
pub(super) async fn all_end(channels: &[Channel]) {
    let mut tries = 0;
    until("all leases have ended", || {
        tries += 1;
        let mut client = KvClient::new(channels[tries % MEMBERS].clone());
        async move {
            let request = RangeRequest {
                key: "l".into(),
                range_end: "m".into(),
                count_only: true,
                ..RangeRequest::default()
            };
            let answer = timeout(ANSWER, client.range(request)).await;
            matches!(answer, Ok(Ok(answer)) if answer.get_ref().count == 0)
        }
    })
    .await;
}
