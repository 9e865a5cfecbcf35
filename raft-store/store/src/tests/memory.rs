//! Large answers share what memory there is for them.

use std::time::Duration;

use futures::TryStreamExt;
use prost::Message as _;
use proto::{
    etcdserverpb::{
        PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, kv_client::KvClient,
        request_op::Request as Op,
    },
    mvccpb::KeyValue,
};
use tonic::{Code, transport::Channel};

use super::cluster::{Cluster, wait_until};

const BUDGET: usize = 1 << 20;
const VALUE: usize = 60 << 10;

async fn cluster(values: usize) -> (Cluster, String) {
    let cluster = Cluster::with(1, |config| {
        config.range_bytes = BUDGET;
        config.max_txn_ops = 10_000;
        config.range_patience = Duration::from_millis(100);
    })
    .await;
    let url = cluster.serve(cluster.leader().await).await;
    for at in 0..values {
        let (key, value) = (format!("b{at:03}").into(), vec![b'x'; VALUE].into());
        let put = PutRequest { key, value, ..PutRequest::default() };
        cluster.handle(0).put(put).await.unwrap();
    }
    (cluster, url)
}

async fn client(url: &str) -> KvClient<Channel> {
    KvClient::new(Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap())
}

fn between(key: &'static str, end: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: end.into(), ..RangeRequest::default() }
}

/// A client that takes nothing in advance, and an answer that it has asked for but does not read.
async fn asked(url: &str, request: RangeRequest) -> tonic::Streaming<RangeResponse> {
    let channel = Channel::from_shared(url.to_owned()).unwrap();
    let channel = channel.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<RangeRequest, RangeResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Range");
    let request = tonic::Request::new(request);
    grpc.server_streaming(request, path, codec).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_leave_none_for_others_until_they_are_read() {
    let (cluster, url) = cluster(20).await;
    let rooms = &cluster.handle(0).inner.rooms;
    let all = between("b", "c");
    let mut unread = asked(&url, all.clone()).await;
    assert_eq!(rooms.taken(), BUDGET, "larger than all there is");
    let mut client = client(&url).await.max_decoding_message_size(usize::MAX);
    let refused = |status: tonic::Status| {
        let seen = (status.code(), status.message().to_owned());
        assert_eq!(seen, (Code::ResourceExhausted, "etcdserver: too many requests".to_owned()));
    };
    refused(client.range(all.clone()).await.unwrap_err());
    let op = RequestOp { request: Some(Op::RequestRange(all.clone())) };
    let txn = TxnRequest { success: vec![op], ..TxnRequest::default() };
    refused(client.txn(txn.clone()).await.unwrap_err());
    // Small answers, counts, and streams, which hold a page at a time, go on.
    let one = RangeRequest { key: "b001".into(), ..RangeRequest::default() };
    assert_eq!(client.range(one).await.unwrap().into_inner().kvs.len(), 1);
    let count = RangeRequest { count_only: true, ..all.clone() };
    assert_eq!(client.range(count).await.unwrap().into_inner().count, 20);
    assert_eq!(stream(&mut client, all.clone()).await.concat().len(), 20);
    let read = unread.message().await.unwrap().unwrap();
    assert_eq!(read.kvs.len(), 20);
    drop((read, unread));
    wait_until("what was read is given back", || rooms.taken() == 0).await;
    assert_eq!(client.range(all.clone()).await.unwrap().into_inner().kvs.len(), 20);
    assert!(client.txn(txn).await.unwrap().into_inner().succeeded);
    // And what is never read goes with its connection.
    let unread = asked(&url, all.clone()).await;
    assert_eq!(rooms.taken(), BUDGET);
    drop(unread);
    wait_until("a client that is gone holds nothing", || rooms.taken() == 0).await;
    assert_eq!(cluster.handle(0).range(all).await.unwrap().kvs.len(), 20, "and so here");
}

/// The messages of a streamed range.
async fn stream(client: &mut KvClient<Channel>, request: RangeRequest) -> Vec<Vec<KeyValue>> {
    let messages = client.range_stream(request).await.unwrap().into_inner();
    let kvs = messages.map_ok(|message| message.range_response.unwrap_or_default().kvs);
    kvs.try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_messages_stay_small_when_values_grow() {
    let (cluster, url) = cluster(120).await;
    for some in 0..30 {
        let small =
            |at| PutRequest { key: format!("a{some:02}{at:02}").into(), ..PutRequest::default() };
        let op = |at| RequestOp { request: Some(Op::RequestPut(small(at))) };
        let txn = TxnRequest { success: (0..100).map(op).collect(), ..TxnRequest::default() };
        cluster.handle(0).txn(txn).await.unwrap();
    }
    let mut client = client(&url).await;
    let pages = stream(&mut client, between("a", "c")).await;
    let sizes: Vec<usize> =
        pages.iter().map(|kvs| kvs.iter().map(KeyValue::encoded_len).sum()).collect();
    assert!(sizes.iter().all(|size| *size <= 3 << 20), "{sizes:?}");
    let keys: Vec<_> = pages.concat().into_iter().map(|kv| kv.key).collect();
    assert_eq!(keys.len(), 3120);
    assert!(keys.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_many_small_keys_are_read_once() {
    let (cluster, url) = cluster(0).await;
    for some in 0..8 {
        let key =
            |at| PutRequest { key: format!("a{some}{at:04}").into(), ..PutRequest::default() };
        let op = |at| RequestOp { request: Some(Op::RequestPut(key(at))) };
        let txn = TxnRequest { success: (0..10_000).map(op).collect(), ..TxnRequest::default() };
        cluster.handle(0).txn(txn).await.unwrap();
    }
    let reads = || {
        let state = cluster.handle(0).inner.state().load();
        state.counts.ranges.load(std::sync::atomic::Ordering::Relaxed)
    };
    let mut client = client(&url).await;
    let before = reads();
    let pages = stream(&mut client, between("a", "b")).await;
    assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), 80_000);
    assert_eq!(reads() - before, pages.len() as u64);
}
