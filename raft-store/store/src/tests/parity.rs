//! What a store does at its edges, with the answers that a real etcd 3.7.1 gave to the same
//! requests.

use std::net::Ipv4Addr;

use proto::etcdserverpb::{
    CompactionRequest, HashKvRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest, WatchRequest, kv_client::KvClient, maintenance_client::MaintenanceClient,
    request_op::Request as Op, watch_client::WatchClient, watch_request::RequestUnion,
};
use tonic::{Code, transport::Channel};

use super::cluster::{Cluster, wait_until};
use crate::{
    Error,
    metrics::{
        self,
        names::{ETCD, LEFT_OUT},
    },
};

fn put(key: &'static str, value: String) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

async fn connect(cluster: &Cluster) -> Channel {
    let url = cluster.serve(cluster.leader().await).await;
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

/// Two versions of a, five of b; and what was before the third of b forgotten.
async fn compacted(cluster: &Cluster) {
    let handle = cluster.handle(cluster.leader().await);
    for (key, count) in [("a", 2), ("b", 5)] {
        for value in 1..=count {
            handle.put(put(key, value.to_string())).await.unwrap();
        }
    }
    handle.compact(CompactionRequest { revision: 6, physical: true }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_etcds_also_at_a_revision_that_was_just_compacted() {
    let cluster = Cluster::start(1).await;
    let mut client = MaintenanceClient::new(connect(&cluster).await);
    compacted(&cluster).await;
    for (revision, hash, compact_revision) in
        [(6, 4_059_629_916, -1), (7, 425_150_696, 6), (8, 145_059_356, 6), (0, 145_059_356, 6)]
    {
        let found = client.hash_kv(HashKvRequest { revision }).await.unwrap().into_inner();
        assert_eq!((found.hash, found.compact_revision), (hash, compact_revision), "{revision}");
    }
    let status = client.hash_kv(HashKvRequest { revision: 5 }).await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: mvcc: required revision has been compacted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_after_a_compaction_does_not_tell_what_was_before() {
    let cluster = Cluster::start(1).await;
    let mut client = WatchClient::new(connect(&cluster).await);
    compacted(&cluster).await;
    let create = WatchCreateRequest {
        key: "b".into(),
        start_revision: 6,
        prev_kv: true,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests =
        futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
    let mut answers = client.watch(requests).await.unwrap().into_inner();
    let mut before = Vec::new();
    while before.len() < 3 {
        let events = answers.message().await.unwrap().unwrap().events;
        let values = events.into_iter().map(|event| event.prev_kv.map(|prev| prev.value));
        before.extend(values);
    }
    assert_eq!(before, [None, Some("3".into()), Some("4".into())]);
}

/// Transactions within each other.
fn nested(depth: usize) -> TxnRequest {
    let put = Op::RequestPut(put("deep", "1".to_owned()));
    let range = Op::RequestRange(RangeRequest { key: "deep".into(), ..Default::default() });
    let operation = |request| RequestOp { request: Some(request) };
    let mut txn = TxnRequest { success: vec![operation(range)], ..TxnRequest::default() };
    for _ in 0..depth {
        txn = TxnRequest { success: vec![operation(Op::RequestTxn(txn))], ..Default::default() };
    }
    txn.success.push(operation(put));
    txn
}

/// The real one, whose decoder goes deeper, takes those that are refused here.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_too_deep_for_the_log_are_refused_and_the_store_lives_on() {
    let cluster = Cluster::start(1).await;
    let mut client = KvClient::new(connect(&cluster).await);
    assert!(client.txn(nested(47)).await.unwrap().into_inner().succeeded);
    for depth in [48, 49] {
        let status = client.txn(nested(depth)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{depth}");
        assert_eq!(status.message(), Error::TooManyOps.to_string());
    }
    assert!(client.txn(nested(60)).await.is_err());
    client.put(put("alive", "1".to_owned())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_find_each_other_at_any_of_several_addresses() {
    let free = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let also: Vec<_> = (0..3).map(|_| free().local_addr().unwrap()).collect();
    // Others know only the second address of each.
    let urls = |at: usize| vec![format!("http://{}", also[at])];
    let cluster = Cluster::with(3, |config| {
        let at: usize = config.name[1..].parse().unwrap();
        config.listen_peer_also = vec![also[at].into()];
        config.peer_urls = urls(at);
        config.initial = (0..3).map(|at| (format!("m{at}"), urls(at))).collect();
    })
    .await;
    let leader = cluster.leader().await;
    cluster.handle(leader).put(put("a", "1".to_owned())).await.unwrap();
    wait_until("all have it", || (0..3).all(|at| cluster.handle(at).revision() == 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_learners_as_the_setting_says() {
    let cluster = Cluster::with(1, |config| config.max_learners = 2).await;
    let handle = cluster.handle(cluster.leader().await);
    let add = |port: u16| handle.member_add(vec![format!("http://127.0.0.1:{port}")], true);
    assert!(add(1).await.unwrap().is_learner && add(2).await.unwrap().is_learner);
    assert_eq!(add(3).await, Err(Error::TooManyLearners));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_metrics_of_etcd_are_here_or_left_out_with_a_reason() {
    let cluster = Cluster::start(1).await;
    let handle = cluster.handle(cluster.leader().await);
    let text = metrics::text(&handle.inner);
    let is_here = |name: &str| text.contains(&format!("# TYPE {name} "));
    let is_left_out = |name: &str| LEFT_OUT.iter().any(|(known, _)| *known == name);
    let missing: Vec<_> = ETCD.iter().filter(|name| !is_here(name) && !is_left_out(name)).collect();
    assert!(missing.is_empty(), "neither here nor left out: {missing:#?}");
    let odd: Vec<_> =
        LEFT_OUT.iter().filter(|(name, _)| is_here(name) || !ETCD.contains(name)).collect();
    assert!(odd.is_empty(), "left out, and here, or none of etcd's: {odd:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_keys_leases_and_transactions_are_counted() {
    let cluster = Cluster::start(1).await;
    let handle = cluster.handle(cluster.leader().await);
    let mut client = KvClient::new(connect(&cluster).await);
    for value in ["1", "22"] {
        client.put(put("a", value.to_owned())).await.unwrap();
    }
    let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    let read = || RequestOp { request: Some(Op::RequestRange(range.clone())) };
    client.txn(TxnRequest { success: vec![read(), read()], ..Default::default() }).await.unwrap();
    handle.lease_grant(100, 7).await.unwrap();
    handle.lease_keep_alive(7).await.unwrap();
    handle.lease_revoke(7).await.unwrap();
    let text = metrics::text(&handle.inner);
    let labels = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
    for line in [
        format!("grpc_server_msg_received_total{{{labels}}} 2"),
        format!("grpc_server_msg_sent_total{{{labels}}} 2"),
        "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"} 3".into(),
        "etcd_mvcc_range_total 2".to_owned(),
        "etcd_mvcc_txn_total 1".to_owned(),
        "etcd_debugging_mvcc_keys_total 1".to_owned(),
        "etcd_debugging_mvcc_total_put_size_in_bytes 5".to_owned(),
        "etcd_debugging_lease_granted_total 1".to_owned(),
        "etcd_debugging_lease_renewed_total 1".to_owned(),
        "etcd_debugging_lease_revoked_total 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
