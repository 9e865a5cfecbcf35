//! The loop between watches and the kernel: what an API server says becomes connections.

use super::*;
use crate::tests::{ask, in_namespace, node_addresses};
use async_trait::async_trait;
use bytes::Bytes;
use client::{Client, Transport};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use stdx::serve::{Body, BoxError};
use tokio::sync::watch;

/// Lines that a watch has sent and will send.
type Lines = watch::Sender<Vec<String>>;

/// An API server that knows two watches, whose lines the test writes.
struct Script {
    services: Lines,
    slices: Lines,
}

#[async_trait]
impl Transport for Script {
    async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>, client::Error> {
        let lines =
            if request.uri().path().ends_with("/services") { &self.services } else { &self.slices };
        let frames =
            futures::stream::unfold((lines.subscribe(), 0), |(mut lines, at)| async move {
                let all = lines.wait_for(|all| all.len() > at).await.ok()?.clone();
                let text: String = all[at..].concat();
                Some((Ok::<_, BoxError>(Frame::data(Bytes::from(text))), (lines, all.len())))
            });
        Ok(http::Response::new(StreamBody::new(frames).boxed_unsync()))
    }

    fn is_local(&self) -> bool {
        true
    }
}

fn say(lines: &Lines, kind: &str, object: Value) {
    let line = format!("{}\n", json!({"type": kind, "object": object}));
    lines.send_modify(|all| all.push(line));
}

fn initial_end() -> Value {
    json!({"metadata": {"resourceVersion": "2",
        "annotations": {"k8s.io/initial-events-end": "true"}}})
}

fn service(revision: u32) -> Value {
    json!({"metadata": {"name": "web", "namespace": "default", "uid": "u1",
        "resourceVersion": revision.to_string()},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}})
}

fn slice(revision: u32, address: &str) -> Value {
    json!({"metadata": {"name": "web-x", "namespace": "default", "uid": "u2",
        "resourceVersion": revision.to_string(), "labels": {SERVICE_NAME: "web"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": [address], "nodeName": "n1"}]})
}

/// Waits until the Service is answered by this backend; `None` for refused.
async fn answered(by: Option<&str>) {
    for _ in 0..1000 {
        let asked = tokio::task::spawn_blocking(|| ask("10.96.0.10:80")).await.unwrap();
        match asked {
            Ok((name, _)) if by == Some(name.as_str()) => return,
            Err(_) if by.is_none() => return,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    panic!("the Service is never answered by {by:?}");
}

#[test]
fn services_and_slices_become_connections_as_they_change() {
    in_namespace(|| {
        node_addresses();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (services, slices) = (Lines::new(Vec::new()), Lines::new(Vec::new()));
            say(&services, "ADDED", service(1));
            say(&services, "BOOKMARK", initial_end());
            say(&slices, "BOOKMARK", initial_end());
            let script = Script { services: services.clone(), slices: slices.clone() };
            let shutdown = Shutdown::new();
            let client = Client::local(Arc::new(script), "proxy-test");
            let informers = Informers::new(client, shutdown.clone());
            let proxy = tokio::spawn(run(
                crate::tests::config(),
                informers,
                crate::HostPorts::default(),
                shutdown.clone(),
            ));
            answered(None).await;
            say(&slices, "ADDED", slice(3, "10.244.0.1"));
            answered(Some("one")).await;
            say(&slices, "MODIFIED", slice(4, "10.244.0.2"));
            answered(Some("two")).await;
            shutdown.trigger();
            proxy.await.unwrap().unwrap();
            // The table outlives the proxy.
            answered(Some("two")).await;
        });
    });
}
