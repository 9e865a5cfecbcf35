//! What scenarios share: the web application of `examples/`, and looks at Pods.
//!
//! Scenarios are in `tests/`, a file per subject. Each starts a cluster of its own, on real processes.

pub mod room;

use anyhow::{Context, Result};
use client::{Client, ListOptions};
use harness::{Cluster, patience, repository_file};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Time between looks at Pods.
const LOOK: Duration = Duration::from_millis(10);

/// The application's label.
pub const WEB: &str = "app=web";

/// Applies `examples/web.yaml` and waits until so many Pods are Ready.
pub async fn apply_web(cluster: &Cluster, ready: usize) -> Result<()> {
    let manifest = repository_file("examples/web.yaml");
    let manifest = manifest.to_str().context("a path in UTF-8")?;
    cluster.kubectl().get(&["apply", "-f", manifest]).await?;
    until_ready(&cluster.client()?, WEB, ready).await;
    Ok(())
}

/// Waits until exactly so many Pods with a label are Ready, and none besides. A failure says what the Pods wait for.
pub async fn until_ready(client: &Client, label: &str, count: usize) {
    let end = Instant::now() + patience();
    loop {
        let found = pods(client, label).await;
        let pods = found.as_deref().unwrap_or_default();
        if pods.len() == count && pods.iter().all(is_ready) {
            return;
        }
        let there: Vec<String> = pods.iter().map(describe).collect();
        assert!(
            Instant::now() < end,
            "waited too long until {count} pods with {label} are ready: {} ({:?})\n{}",
            there.join("\n"),
            found.err(),
            nodes_of(client).await,
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// A Pod's name, node, and the conditions that are not true.
fn describe(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.into_iter().flatten().filter(|one| one.status != "True");
    let conditions: Vec<String> = conditions
        .map(|one| format!("{} {}", one.type_, one.message.or(one.reason).unwrap_or_default()))
        .collect();
    let phase = status.phase.unwrap_or_default();
    format!("{} {phase} on {:?}: {}", name(pod), node(pod), conditions.join("; "))
}

/// The nodes, their taints and pressures.
async fn nodes_of(client: &Client) -> String {
    let nodes = match client.list::<Node>("", &ListOptions::default()).await {
        Ok(nodes) => nodes.items,
        Err(error) => return format!("no nodes: {error}"),
    };
    let line = |node: &Node| {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let taints: Vec<String> = taints.iter().map(|one| one.key.clone()).collect();
        format!("{name} taints {taints:?}")
    };
    nodes.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// All Pods with a label in namespace `default`.
pub async fn pods(client: &Client, label: &str) -> Result<Vec<Pod>> {
    Ok(client.list::<Pod>("default", &ListOptions::labels(label)).await?.items)
}

/// Whether a Pod is Ready and stays.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// A Pod's name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The node that a Pod is bound to.
pub fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// A Pod's address.
pub fn ip(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default()
}

/// Nodes that hold these Pods.
pub fn nodes(pods: &[Pod]) -> BTreeSet<&str> {
    pods.iter().map(node).collect()
}

/// Addresses of the application's endpoints.
pub async fn endpoints(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices\
                ?labelSelector=kubernetes.io%2Fservice-name%3Dweb";
    let slices = cluster.client()?.request(GET, path, None).await?;
    let all = slices["items"].as_array().cloned().unwrap_or_default();
    let mut found = BTreeSet::new();
    for slice in &all {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] == true {
                let addresses = endpoint["addresses"].as_array().into_iter().flatten();
                found.extend(addresses.filter_map(|one| one.as_str()).map(str::to_owned));
            }
        }
    }
    Ok(found)
}

/// The method of reads.
pub const GET: http::Method = http::Method::GET;
