//! Failover of requests.

use super::*;
use crate::{
    Client, ListOptions,
    testing::{Cluster, Server, config_map, config_map_path},
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

fn client(servers: &[&Server]) -> Client {
    let servers = servers.iter().map(|server| server.url.clone()).collect();
    Client::remote(Config { servers, user_agent: "tests".into(), ..Config::default() })
        .expect("a client")
}

async fn read(client: &Client) -> Result<ConfigMap, Error> {
    client.get("shop", "a").await
}

#[tokio::test]
async fn verbs_reach_the_server_and_refusals_are_told() {
    let cluster = Cluster::new();
    let server = Server::start(&cluster).await;
    let client = client(&[&server]);
    let object: ConfigMap = serde_json::from_value(config_map("a", "1")).expect("a config map");
    let created = client.create(&object).await.expect("created");
    assert!(client.create(&object).await.expect_err("there").is_already_exists());
    let mut stale = created.clone();
    client.update(&created).await.expect("updated");
    stale.metadata.resource_version = Some("1".into());
    assert!(client.update(&stale).await.expect_err("stale").is_conflict());
    let list = client.list::<ConfigMap>("shop", &ListOptions::default()).await.expect("a list");
    assert_eq!((list.items.len(), list.revision()), (1, "2"));
    client.delete::<ConfigMap>("shop", "a", &Default::default()).await.expect("deleted");
    assert!(read(&client).await.expect_err("gone").is_not_found());
}

#[tokio::test]
async fn writes_carry_the_fence_and_reads_do_not_need_it() {
    let cluster = Cluster::new();
    let server = Server::start(&cluster).await;
    let fenced = client(&[&server]).fenced("kube-system/x;me;3".into()).with_user_agent("other");
    fenced
        .request(Method::POST, "/api/v1/namespaces/shop/configmaps", Some(&config_map("a", "")))
        .await
        .expect("created");
    assert_eq!(cluster.header("trireme-fence").as_deref(), Some("kube-system/x;me;3"));
    assert_eq!(cluster.header("user-agent").as_deref(), Some("other"));
}

#[tokio::test]
async fn a_dead_master_is_left_at_once_and_taken_again_when_it_is_the_only_one() {
    let cluster = Cluster::new();
    cluster.put(&config_map_path("a"), config_map("a", "1"));
    let (one, two) = (Server::start(&cluster).await, Server::start(&cluster).await);
    let client = client(&[&one, &two]);
    read(&client).await.expect("an answer");
    one.shutdown.trigger();
    for _ in 0..20 {
        read(&client).await.expect("an answer of the other");
    }
    let one = Server::start_again(&cluster, &one.url).await;
    two.shutdown.trigger();
    for _ in 0..20 {
        read(&client).await.expect("an answer of the first");
    }
    one.shutdown.trigger();
    let begin = Instant::now();
    let error = loop {
        match read(&client).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.retryable(), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_stuck_master_is_left_and_the_request_goes_on_elsewhere() {
    let cluster = Cluster::new();
    cluster.put(&config_map_path("a"), config_map("a", "1"));
    let (one, two) = (Server::start(&cluster).await, Server::start(&cluster).await);
    let client = client(&[&one, &two]);
    read(&client).await.expect("an answer");
    // Whichever is in use: both are stuck once, one after the other.
    for stuck in [&one, &two] {
        stuck.stuck.send_replace(true);
        let begin = Instant::now();
        read(&client).await.expect("an answer of the other");
        assert!(begin.elapsed() < Duration::from_secs(6));
        stuck.stuck.send_replace(false);
    }
}

#[tokio::test]
async fn overloaded_masters_are_asked_again() {
    let cluster = Cluster::new();
    cluster.put(&config_map_path("a"), config_map("a", "1"));
    let server = Server::start(&cluster).await;
    let client = client(&[&server]);
    cluster.answer_once(503, json!({"message": "no leader"}));
    read(&client).await.expect("the second answer");
    assert_eq!(cluster.seen("GET /api/v1/namespaces/shop/configmaps/a"), 2);
    let body = config_map("b", "");
    cluster.answer_once(503, json!("no leader"));
    let path = "/api/v1/namespaces/shop/configmaps";
    let error = client.request(Method::POST, path, Some(&body)).await.expect_err("refused");
    assert_eq!((error.code(), error.reason()), (503, "ServiceUnavailable"));
}

#[test]
fn only_creates_and_json_patches_must_not_be_repeated() {
    let request = |method: Method, media_type: &str| {
        let builder = Request::builder().method(method).header("content-type", media_type);
        builder.body(Bytes::new()).expect("a request")
    };
    let twice = |method, media_type| may_be_carried_out_twice(&request(method, media_type));
    assert!(twice(Method::GET, ""));
    assert!(twice(Method::PUT, "application/json"));
    assert!(twice(Method::PATCH, "application/merge-patch+json"));
    assert!(!twice(Method::PATCH, "application/json-patch+json"));
    assert!(!twice(Method::POST, "application/json"));
}
