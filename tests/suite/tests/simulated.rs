//! The same manifests on fifty simulated nodes in one process.

use anyhow::Result;
use harness::{Cluster, Options};
use suite::{WEB, apply_web, nodes, pods, until_ready};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_nodes_run_the_same_manifest() -> Result<()> {
    let mut cluster = Cluster::start(Options::simulated(50)).await?;
    apply_web(&cluster, 3).await?;
    let client = cluster.client()?;
    let kubectl = cluster.kubectl();
    kubectl.get(&["scale", "deployment/web", "--replicas=200"]).await?;
    until_ready(&client, WEB, 200).await;
    let all = pods(&client, WEB).await?;
    assert!(nodes(&all).len() >= 45, "spread over the nodes: {}", nodes(&all).len());
    let listed = kubectl.get(&["get", "nodes", "--no-headers"]).await?;
    assert_eq!(listed.lines().filter(|line| line.contains(" Ready ")).count(), 50, "{listed}");
    kubectl.get(&["delete", "deployment/web", "--wait=false"]).await?;
    until_ready(&client, WEB, 0).await;
    cluster.stop().await
}
