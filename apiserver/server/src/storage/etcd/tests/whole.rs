//! The whole API server on a store outside.

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;

use super::backend::Backend;
use crate::config::Config;
use crate::server::Server;
use crate::storage::Storage;
use crate::storage::etcd::compactor;

async fn send(server: &Arc<Server>, what: &str, body: Option<Value>) -> (u16, Value) {
    let (method, path) = what.split_once(' ').expect("a method and a path");
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let request = Request::builder().method(method).uri(path).body(body).expect("a request");
    let transport = server.local("admin", &["system:masters"]);
    let response = transport.send(request).await.expect("an answer");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Services with their addresses, pages of a list, and the end of an old list.
async fn serves(backend: Backend) {
    let storage = Arc::new(backend.direct().await);
    let folder = tempfolder();
    let (key, _) = stdx::pki::signing_key().expect("a key");
    let path = folder.join("sa.key");
    stdx::pki::write_secret(&path, key.as_bytes()).expect("a writable folder");
    let address = SocketAddr::from(([127, 0, 0, 1], 6443));
    let mut config = Config::new("m1", address, stdx::tls::ServerTls::default());
    config.signing_key = path;
    let server = Server::new(config, address, storage.clone(), Shutdown::new()).expect("a server");
    server.run();
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while send(&server, "GET /readyz", None).await.0 != 200 {
        assert!(tokio::time::Instant::now() < end, "the server does not get ready");
    }
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: &str| json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    let create = format!("POST {services}");
    let (code, made) = send(&server, &create, Some(service("a", "10.96.7.7"))).await;
    assert_eq!(code, 201, "{made}");
    let (code, taken) = send(&server, &create, Some(service("b", "10.96.7.7"))).await;
    assert_eq!(code, 422, "{taken}");
    let (code, _) = send(&server, &create, Some(service("a", ""))).await;
    assert_eq!(code, 409);
    let (_, page) = send(&server, &format!("GET {services}?limit=1"), None).await;
    let token = page["metadata"]["continue"].as_str().expect("there is more").to_owned();
    let next = format!("GET {services}?limit=1&continue={token}");
    let (code, rest) = send(&server, &next, None).await;
    assert_eq!(
        (code, &rest["metadata"]["resourceVersion"]),
        (200, &page["metadata"]["resourceVersion"])
    );
    let (code, _) = send(&server, &format!("DELETE {services}/a"), None).await;
    assert_eq!(code, 200);
    let (code, made) = send(&server, &create, Some(service("b", "10.96.7.7"))).await;
    assert_eq!(code, 201, "the address is free again: {made}");
    let mut round = compactor::Round::default();
    for _ in 0..2 {
        compactor::once(&storage.0, &mut round).await.expect("a round");
    }
    let (code, gone) = send(&server, &next, None).await;
    assert_eq!((code, gone["reason"].as_str()), (410, Some("Expired")), "{gone}");
    assert_eq!(storage.member(), 0, "no session is kept");
    server.shutdown.trigger();
    std::fs::remove_dir_all(folder).ok();
}

fn tempfolder() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("trireme-server-{}", uuid::Uuid::new_v4()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_serves_on_a_real_etcd() {
    if let Some(backend) = Backend::etcd().await {
        Box::pin(serves(backend)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_serves_on_members_of_our_store() {
    Box::pin(serves(Backend::ours().await)).await;
}
