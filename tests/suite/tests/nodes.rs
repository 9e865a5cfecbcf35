//! Nodes fail: a dead agent leaves its Pods alone, a lost node's Pods are replaced elsewhere.

use anyhow::{Context, Result};
use harness::{Cluster, Options, until};
use suite::{WEB, apply_web, endpoints, ip, is_ready, name, node, pods};

/// Restart counts and container ids of all Pods: what must not change when an agent dies.
async fn identities(cluster: &Cluster) -> Result<Vec<String>> {
    let mut all: Vec<String> = pods(&cluster.client()?, WEB)
        .await?
        .iter()
        .map(|pod| {
            let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            let ids: Vec<String> = statuses
                .map(|one| format!("{:?} {}", one.container_id, one.restart_count))
                .collect();
            format!("{} {}", name(pod), ids.join(","))
        })
        .collect();
    all.sort();
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_killed_and_its_pods_stay() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    apply_web(&cluster, 3).await?;
    let before = identities(&cluster).await?;
    let client = cluster.client()?;
    let victim = pods(&client, WEB).await?.first().map(|pod| node(pod).to_owned());
    let victim = victim.context("a pod")?;
    let here = pods(&client, WEB).await?;
    let here = here.iter().find(|pod| node(pod) == victim).context("a pod there")?;
    let elsewhere = pods(&client, WEB).await?;
    let elsewhere = elsewhere.iter().find(|pod| node(pod) != victim).context("one elsewhere")?;
    cluster.host("kill", &victim).await?;
    let url = format!("http://{}:8080/motto", ip(here));
    let args = ["exec", name(elsewhere), "--", "wget", "-q", "-O", "-", &url];
    assert_eq!(
        cluster.kubectl().get(&args).await?,
        "It serves.",
        "the pod serves without its agent"
    );
    cluster.host("start", &victim).await?;
    let kubectl = cluster.kubectl();
    let here = name(here).to_owned();
    until("the new agent answers for the old pod", || async {
        kubectl.run(&["exec", &here, "--", "true"]).await.is_ok_and(|output| output.ok)
    })
    .await;
    assert_eq!(identities(&cluster).await?, before, "nothing was restarted");
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_cut_off_and_its_pods_are_replaced() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    apply_web(&cluster, 3).await?;
    let client = cluster.client()?;
    let all = pods(&client, WEB).await?;
    let lost = node(&all[0]).to_owned();
    let gone: Vec<String> =
        all.iter().filter(|pod| node(pod) == lost).map(|pod| ip(pod).to_owned()).collect();
    until("all endpoints are there", || async {
        endpoints(&cluster).await.is_ok_and(|all| gone.iter().all(|ip| all.contains(ip)))
    })
    .await;
    cluster.host("cut", &lost).await?;
    let dropped = until("the lost node's endpoints are dropped", || async {
        endpoints(&cluster).await.is_ok_and(|all| gone.iter().all(|ip| !all.contains(ip)))
    })
    .await;
    let replaced = until("three pods are ready on the node that is left", || async {
        let all = pods(&client, WEB).await.unwrap_or_default();
        all.iter().filter(|pod| is_ready(pod) && node(pod) != lost).count() == 3
    })
    .await;
    println!("node lost: endpoints dropped after {dropped:?}, replaced {replaced:?} later");
    cluster.host("heal", &lost).await?;
    until("the node is ready again, and no pod is left over", || async {
        let status = cluster.status().await.unwrap_or_default();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let ready = nodes.iter().all(|node| node["ready"] == true);
        let all = pods(&client, WEB).await.unwrap_or_default();
        ready && all.len() == 3 && all.iter().all(is_ready)
    })
    .await;
    cluster.stop().await
}
