//! What a member does by itself, and what it says to scrapers and to people who look into it.

use std::{collections::BTreeMap, time::Duration};

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use proto::etcdserverpb::{
    PutRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest, kv_client::KvClient,
    request_op::Request as Op, watch_client::WatchClient, watch_request::RequestUnion,
};
use tokio::net::UnixStream;
use tonic::{Code, transport::Channel};

use super::cluster::{Cluster, wait_until};
use crate::{Address, AutoCompaction, Listen, Serves, Serving, dump_log, serve};

fn put(key: &'static str, value: impl Into<Bytes>) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

async fn channel(cluster: &Cluster, at: usize) -> Channel {
    Channel::from_shared(cluster.serve(at).await).unwrap().connect().await.unwrap()
}

/// A request that watches a key from its first revision on, on a stream that stays open.
fn watching(create: WatchCreateRequest) -> impl futures::Stream<Item = WatchRequest> {
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_history_goes_by_itself_on_all_members() {
    let period = AutoCompaction::Periodic(Duration::from_millis(200));
    let cluster = Cluster::with(3, |config| config.auto_compaction = period).await;
    let leader = cluster.leader().await;
    for _ in 0..5 {
        cluster.handle(leader).put(put("a", "1")).await.unwrap();
    }
    wait_until("everything but the newest is compacted", || {
        cluster.running().iter().all(|at| cluster.handle(*at).compacted() == 6)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lease_still_has_survives_a_change_of_leaders() {
    let every = Some(Duration::from_millis(50));
    let mut cluster = Cluster::with(3, |config| config.lease_checkpoints = every).await;
    let leader = cluster.leader().await;
    cluster.handle(leader).lease_grant(1000, 7).await.unwrap();
    let follower = cluster.follower().await;
    let remaining = || {
        let state = cluster.handle(follower).inner.state().load();
        let leases = state.leases.read();
        leases.get(7).map_or(0, |lease| lease.remaining)
    };
    wait_until("some of it has been used", || (1..=998).contains(&remaining())).await;
    cluster.kill(leader).await;
    let leader = cluster.leader().await;
    let left = cluster.handle(leader).lease_time_to_live(7, false).await.unwrap();
    assert!(left.ttl <= 998, "{left:?}");
    cluster.handle(leader).lease_keep_alive(7).await.unwrap();
    let left = cluster.handle(leader).lease_time_to_live(7, false).await.unwrap();
    assert!(left.ttl > 998, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_wants_a_leader_ends_without_one() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let channel = channel(&cluster, leader).await;
    let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
    let mut request = tonic::Request::new(watching(create));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let mut stream = WatchClient::new(channel).watch(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().unwrap().created);
    for at in cluster.running() {
        if at != leader {
            cluster.kill(at).await;
        }
    }
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_revision_come_in_fragments_when_that_is_asked_for() {
    let cluster = Cluster::with(1, |config| config.max_request_bytes = 4096).await;
    let channel = channel(&cluster, cluster.leader().await).await;
    let keys = ["a1", "a2", "a3"];
    let big = |key| RequestOp { request: Some(Op::RequestPut(put(key, vec![b'x'; 1300]))) };
    let txn = TxnRequest { success: keys.map(big).to_vec(), ..TxnRequest::default() };
    KvClient::new(channel.clone()).txn(txn).await.unwrap();
    // Together with what was before, the events are larger than a request may be.
    let txn = TxnRequest { success: keys.map(big).to_vec(), ..TxnRequest::default() };
    KvClient::new(channel.clone()).txn(txn).await.unwrap();
    let create = WatchCreateRequest {
        key: "a".into(),
        range_end: "b".into(),
        start_revision: 3,
        prev_kv: true,
        fragment: true,
        progress_notify: false,
        ..WatchCreateRequest::default()
    };
    let mut stream = WatchClient::new(channel).watch(watching(create)).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().unwrap().created);
    let mut parts = Vec::new();
    loop {
        let part = stream.message().await.unwrap().unwrap();
        parts.push((part.events.len(), part.fragment));
        if !part.fragment {
            break;
        }
    }
    assert_eq!(parts.iter().map(|part| part.0).sum::<usize>(), 3);
    assert!(parts.len() > 1, "{parts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_serves_what_it_is_told_to() {
    let cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    KvClient::new(channel(&cluster, leader).await).put(put("a", "1")).await.unwrap();
    let handle = cluster.handle(leader).clone();
    let path = std::env::temp_dir().join(format!("trireme-store-{}.sock", std::process::id()));
    // As an earlier run leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = Address::Unix(path.clone());
    let listen = vec![Listen { address, secure: false, serves: Serves::Metrics }];
    let stop = stdx::Shutdown::new();
    let serving = Serving { listen, ..Serving::default() };
    let task = tokio::spawn(serve(serving, handle, stop.clone()));
    let mut stream = UnixStream::connect(&path).await;
    while stream.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
        stream = UnixStream::connect(&path).await;
    }
    let io = TokioIo::new(stream.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut get = async |path: &str| {
        let request = Request::get(path).header("host", "x").body(Empty::<Bytes>::new()).unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(get("/health").await, (200, r#"{"health":"true","reason":""}"#.to_owned()));
    assert_eq!(get("/version").await.0, 404);
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    let samples: BTreeMap<&str, &str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .collect();
    assert_eq!(samples["etcd_server_has_leader"], "1");
    assert_eq!(samples["etcd_server_leader_changes_seen_total"], "1");
    assert_eq!(samples["etcd_mvcc_put_total"], "1");
    let fsyncs = samples["etcd_disk_wal_fsync_duration_seconds_count"];
    assert!(fsyncs.parse::<u64>().unwrap() > 0);
    assert_eq!(samples["etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"}"], fsyncs);
    let labels = r#"{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#;
    assert_eq!(samples[format!("grpc_server_started_total{labels}").as_str()], "1");
    let labels = labels.replace('{', r#"{grpc_code="OK","#);
    assert_eq!(samples[format!("grpc_server_handled_total{labels}").as_str()], "1");
    assert!(samples["process_resident_memory_bytes"].parse::<f64>().unwrap() > 1e6);
    stop.trigger();
    task.await.unwrap().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_dumped_in_order() {
    let cluster = Cluster::start(1).await;
    let handle = cluster.handle(cluster.leader().await).clone();
    for value in ["one", "two"] {
        handle.put(put("a", value)).await.unwrap();
    }
    let dir = handle.inner.config.data_dir.clone();
    let mut text = String::new();
    // What is committed is written down with the next entries.
    for at in 0.. {
        let mut out = Vec::new();
        dump_log(&dir, &mut out).unwrap();
        text = String::from_utf8(out).unwrap();
        if text.contains("dHdv") || at == 100 {
            break;
        }
        handle.put(put("b", "")).await.unwrap();
    }
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let indexes: Vec<u64> = lines.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{indexes:?}");
    assert!(lines.iter().any(|line| line["members"][0]["name"] == "m0"), "{text}");
    let values: Vec<&str> = lines
        .iter()
        .filter(|line| line["request"]["put"]["key"] == "YQ==")
        .map(|line| line["request"]["put"]["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, ["b25l", "dHdv"]);
}
