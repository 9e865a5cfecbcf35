//! Locks and elections, and what tools ask before anything else: health and reflection.

use std::{future::Future, time::Duration};

use proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseRevokeRequest, RangeRequest, kv_client::KvClient,
        lease_client::LeaseClient,
    },
    health::{HealthCheckRequest, health_client::HealthClient},
    v3electionpb::{
        CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest,
        election_client::ElectionClient,
    },
    v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
};
use tonic::{Code, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::cluster::Cluster;

/// Long enough for an answer that must not come to show itself, were it coming.
const MOMENT: Duration = Duration::from_millis(100);

async fn channel(cluster: &Cluster) -> Channel {
    let url = cluster.serve(cluster.leader().await).await;
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

async fn lease(channel: &Channel) -> i64 {
    let request = LeaseGrantRequest { ttl: 60, id: 0 };
    LeaseClient::new(channel.clone()).lease_grant(request).await.unwrap().into_inner().id
}

async fn keys(channel: &Channel, prefix: &'static str, end: &'static str) -> Vec<String> {
    let request = RangeRequest {
        key: prefix.into(),
        range_end: end.into(),
        serializable: true,
        ..RangeRequest::default()
    };
    let response = KvClient::new(channel.clone()).range(request).await.unwrap().into_inner();
    let text = |kv: proto::mvccpb::KeyValue| String::from_utf8(kv.key.to_vec()).unwrap();
    response.kvs.into_iter().map(text).collect()
}

async fn until_keys(channel: &Channel, count: usize) {
    while keys(channel, "l/", "l0").await.len() != count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn answers<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("no answer: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_goes_to_who_came_next_when_it_is_given_back() {
    let cluster = Cluster::start(1).await;
    let channel = channel(&cluster).await;
    let (first, second) = (lease(&channel).await, lease(&channel).await);
    let mut client = LockClient::new(channel.clone());
    let request = LockRequest { name: "l".into(), lease: first };
    let held = client.lock(request.clone()).await.unwrap().into_inner();
    assert_eq!(held.key, format!("l/{first:x}"));
    let again = client.lock(request).await.unwrap().into_inner();
    assert_eq!(again.key, held.key, "who holds it gets it again");
    let mut waiting = LockClient::new(channel.clone());
    let next = tokio::spawn(async move {
        waiting.lock(LockRequest { name: "l".into(), lease: second }).await.unwrap().into_inner()
    });
    answers("the second queues up", until_keys(&channel, 2)).await;
    tokio::time::sleep(MOMENT).await;
    assert!(!next.is_finished(), "the lock is held");
    client.unlock(UnlockRequest { key: held.key }).await.unwrap();
    let next = answers("the second has its turn", next).await.unwrap();
    assert_eq!(next.key, format!("l/{second:x}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_lost_with_its_lease_and_a_place_with_its_call() {
    let cluster = Cluster::start(1).await;
    let channel = channel(&cluster).await;
    let (first, second) = (lease(&channel).await, lease(&channel).await);
    let mut client = LockClient::new(channel.clone());
    client.lock(LockRequest { name: "l".into(), lease: first }).await.unwrap();
    let mut waiting = LockClient::new(channel.clone());
    let request = LockRequest { name: "l".into(), lease: second };
    let given_up = request.clone();
    let call = tokio::spawn(async move { waiting.lock(given_up).await.map(|_| ()) });
    answers("the second queues up", until_keys(&channel, 2)).await;
    call.abort();
    answers("a call that is given up leaves the queue", until_keys(&channel, 1)).await;
    let mut waiting = LockClient::new(channel.clone());
    let call = tokio::spawn(async move { waiting.lock(request).await.unwrap().into_inner() });
    answers("the second queues up again", until_keys(&channel, 2)).await;
    let revoke = LeaseRevokeRequest { id: first };
    LeaseClient::new(channel.clone()).lease_revoke(revoke).await.unwrap();
    assert_eq!(answers("the turn", call).await.unwrap().key, format!("l/{second:x}"));
    let status = client.lock(LockRequest { name: "l".into(), lease: 12345 }).await.unwrap_err();
    let told = (status.code(), status.message());
    assert_eq!(told, (Code::Unknown, "etcdserver: requested lease not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_is_won_observed_and_resigned() {
    let cluster = Cluster::start(1).await;
    let channel = channel(&cluster).await;
    let mut client = ElectionClient::new(channel.clone());
    let ask = LeaderRequest { name: "e".into() };
    let status = client.leader(ask.clone()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "election: no leader"));
    let mut observed = client.observe(ask.clone()).await.unwrap().into_inner();
    let first = lease(&channel).await;
    let campaign = CampaignRequest { name: "e".into(), lease: first, value: "one".into() };
    let won = client.campaign(campaign).await.unwrap().into_inner().leader.unwrap();
    assert_eq!((won.key.clone(), won.lease), (format!("e/{first:x}").into(), first));
    let seen = answers("who was elected", observed.message()).await.unwrap().unwrap();
    assert_eq!((seen.kv.unwrap().value, seen.header.unwrap().revision), ("one".into(), won.rev));
    let mut rival = ElectionClient::new(channel.clone());
    let second = lease(&channel).await;
    let campaign = CampaignRequest { name: "e".into(), lease: second, value: "two".into() };
    let next = tokio::spawn(async move { rival.campaign(campaign).await.unwrap() });
    let proclaim = ProclaimRequest { leader: Some(won.clone()), value: "uno".into() };
    client.proclaim(proclaim.clone()).await.unwrap();
    let seen = answers("what was proclaimed", observed.message()).await.unwrap().unwrap();
    assert_eq!(seen.kv.unwrap().value, "uno");
    client.resign(ResignRequest { leader: Some(won) }).await.unwrap();
    answers("the successor", next).await.unwrap();
    let seen = answers("who was elected then", observed.message()).await.unwrap().unwrap();
    assert_eq!(seen.kv.unwrap().value, "two");
    assert_eq!(client.leader(ask).await.unwrap().into_inner().kv.unwrap().value, "two");
    let status = client.proclaim(proclaim).await.unwrap_err();
    assert_eq!(status.message(), "election: not leader");
    let status = client.resign(ResignRequest::default()).await.unwrap_err();
    assert_eq!(status.message(), "\"leader\" field must be provided");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_for_all_services_under_the_empty_name() {
    let cluster = Cluster::start(1).await;
    let mut client = HealthClient::new(channel(&cluster).await);
    let well = client.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(well.status, 1);
    let other = HealthCheckRequest { service: "nothing".to_owned() };
    let status = client.check(other.clone()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "unknown service"));
    let mut stream = client.watch(other).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_names_every_service() {
    let cluster = Cluster::start(1).await;
    let mut client = ServerReflectionClient::new(channel(&cluster).await);
    let ask = |request| ServerReflectionRequest {
        message_request: Some(request),
        ..ServerReflectionRequest::default()
    };
    let list = ask(MessageRequest::ListServices(String::new()));
    let file = ask(MessageRequest::FileContainingSymbol("etcdserverpb.KV".to_owned()));
    let requests = futures::stream::iter([list, file]);
    let mut stream = client.server_reflection_info(requests).await.unwrap().into_inner();
    let answer = stream.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("not a list") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["etcdserverpb.KV", "v3lockpb.Lock", "etcdserverpb.Auth"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("peer")), "{names:?}");
    let answer = stream.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
}
