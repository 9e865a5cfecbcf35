//! The etcd API over the network.

use futures::TryStreamExt;
use proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseKeepAliveRequest, MemberListRequest, PutRequest, RangeRequest,
        SnapshotRequest, StatusRequest, WatchCancelRequest, WatchCreateRequest,
        WatchProgressRequest, WatchRequest, WatchResponse, cluster_client::ClusterClient,
        kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient,
        range_request::SortTarget, watch_client::WatchClient, watch_request::RequestUnion,
    },
    mvccpb::event::EventType,
};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

use super::cluster::Cluster;

async fn connect(cluster: &Cluster) -> (Channel, String) {
    let leader = cluster.leader().await;
    let url = cluster.serve(leader).await;
    (Channel::from_shared(url.clone()).unwrap().connect().await.unwrap(), url)
}

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

/// A watch stream and its two ends.
struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Stream {
    async fn open(channel: Channel) -> Self {
        let (requests, queue) = mpsc::channel(8);
        let mut client = WatchClient::new(channel);
        let answers = client.watch(ReceiverStream::new(queue)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn send(&self, request: RequestUnion) {
        self.requests.send(WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    async fn create(&mut self, create: WatchCreateRequest) -> WatchResponse {
        self.send(RequestUnion::CreateRequest(create)).await;
        self.next().await
    }

    async fn next(&mut self) -> WatchResponse {
        self.answers.message().await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_put_and_ranged_and_errors_are_etcds() {
    let cluster = Cluster::start(1).await;
    let (channel, _) = connect(&cluster).await;
    let mut kv = KvClient::new(channel);
    let header = kv.put(put("a", "1")).await.unwrap().into_inner().header.unwrap();
    assert_eq!(header.revision, 2);
    assert_eq!(header.member_id, cluster.handle(0).id());
    let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    let response = kv.range(range.clone()).await.unwrap().into_inner();
    assert_eq!((response.count, response.kvs[0].value.clone()), (1, "1".into()));
    let status = kv.range(RangeRequest { revision: 99, ..range }).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(status.message(), "etcdserver: mvcc: required revision is a future revision");
    let status = kv.put(PutRequest::default()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "etcdserver: key is not provided")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_range_is_one_revision_in_many_messages() {
    let cluster = Cluster::start(1).await;
    let (channel, _) = connect(&cluster).await;
    let mut kv = KvClient::new(channel);
    for at in 0..25 {
        let request = PutRequest { key: format!("k{at:02}").into(), ..PutRequest::default() };
        kv.put(request).await.unwrap();
    }
    let request = RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        limit: 20,
        ..RangeRequest::default()
    };
    let mut stream = kv.range_stream(request).await.unwrap().into_inner();
    let (mut keys, mut last) = (0, None);
    while let Some(message) = stream.message().await.unwrap() {
        let page = message.range_response.unwrap();
        keys += page.kvs.len();
        last = Some(page);
    }
    let last = last.unwrap();
    assert_eq!((keys, last.more, last.count), (20, true, 25));
    assert_eq!(last.header.unwrap().revision, 26);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_range_by_value_is_in_its_order_over_all_messages() {
    let cluster = Cluster::start(1).await;
    let (channel, _) = connect(&cluster).await;
    let mut kv = KvClient::new(channel);
    for at in 0..5 {
        let value = vec![b'e' - at; 900_000].into();
        let key = format!("k{at}").into();
        kv.put(PutRequest { key, value, ..PutRequest::default() }).await.unwrap();
    }
    let request = RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        sort_target: SortTarget::Value.into(),
        ..RangeRequest::default()
    };
    let stream = kv.range_stream(request).await.unwrap().into_inner();
    let pages: Vec<_> =
        stream.map_ok(|page| page.range_response.unwrap()).try_collect().await.unwrap();
    let keys: Vec<_> = pages.iter().flat_map(|page| &page.kvs).map(|kv| &kv.key[..]).collect();
    assert_eq!(keys, [b"k4", b"k3", b"k2", b"k1", b"k0"]);
    let counts: Vec<_> = pages.iter().map(|page| (page.header.is_some(), page.count)).collect();
    assert!(counts.len() > 2, "{counts:?}");
    assert_eq!(counts.iter().filter(|count| **count == (false, 0)).count(), counts.len() - 1);
    assert_eq!(counts.last(), Some(&(true, 5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_stream_keeps_etcds_promises() {
    let cluster = Cluster::start(1).await;
    let (channel, _) = connect(&cluster).await;
    let mut kv = KvClient::new(channel.clone());
    let mut stream = Stream::open(channel).await;
    kv.put(put("a", "1")).await.unwrap();
    let watch_a = WatchCreateRequest {
        key: "a".into(),
        start_revision: 2,
        prev_kv: true,
        ..WatchCreateRequest::default()
    };
    let created = stream.create(watch_a.clone()).await;
    assert!(created.created && created.watch_id == 0 && created.events.is_empty());
    let first = stream.next().await;
    assert_eq!((first.watch_id, first.events.len()), (0, 1));
    let second = stream.create(WatchCreateRequest { watch_id: 7, ..watch_a.clone() }).await;
    assert_eq!((second.created, second.watch_id), (true, 7));
    assert_eq!(stream.next().await.watch_id, 7);
    let twice = stream.create(WatchCreateRequest { watch_id: 7, ..watch_a.clone() }).await;
    assert!(twice.created && twice.canceled && twice.watch_id == -1);
    let empty = WatchCreateRequest { range_end: "a".into(), ..watch_a };
    let empty = stream.create(empty).await;
    assert_eq!(empty.cancel_reason, "mvcc: watcher range is empty");
    stream.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 7 })).await;
    let cancelled = stream.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == 7);
    kv.put(put("b", "1")).await.unwrap();
    stream.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    let progress = stream.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 3));
    kv.put(put("a", "2")).await.unwrap();
    let event = stream.next().await.events.remove(0);
    assert_eq!(event.r#type(), EventType::Put);
    assert_eq!(event.prev_kv.unwrap().value, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_members_and_status_are_told() {
    let cluster = Cluster::start(1).await;
    let (channel, _) = connect(&cluster).await;
    let mut lease = LeaseClient::new(channel.clone());
    let granted = lease.lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await.unwrap();
    let id = granted.into_inner().id;
    assert!(id > 0);
    let ids = futures::stream::iter([id, 12345].map(|id| LeaseKeepAliveRequest { id }));
    let mut answers = lease.lease_keep_alive(ids).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 60);
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 0);
    let mut members = ClusterClient::new(channel.clone());
    let list = members.member_list(MemberListRequest { linearizable: true }).await.unwrap();
    assert_eq!(list.into_inner().members[0].name, "m0");
    let mut maintenance = MaintenanceClient::new(channel);
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.version.as_str(), status.leader), (crate::VERSION, cluster.handle(0).id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_ends_with_its_own_checksum() {
    let cluster = Cluster::start(1).await;
    let (channel, _) = connect(&cluster).await;
    KvClient::new(channel.clone()).put(put("a", "1")).await.unwrap();
    let mut maintenance = MaintenanceClient::new(channel);
    let mut stream = maintenance.snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        file.extend_from_slice(&message.blob);
    }
    assert_eq!(file.len() % 512, 32);
    let (content, checksum) = file.split_at(file.len() - 32);
    assert_eq!(Sha256::digest(content)[..], *checksum);
}
