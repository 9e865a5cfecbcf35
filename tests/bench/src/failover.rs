//! Masters are killed and cut off again and again under load: how long until the next write, until somebody else
//! schedules, until somebody else controls, until a new Deployment's Pod is bound.

use anyhow::{Context, Result};
use client::Client;
use harness::{Cluster, Options, Writer, until};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use std::time::{Duration, Instant};

use crate::figures;

/// Leaders killed.
const KILLS: usize = 20;
/// Leaders cut off from everybody.
const CUTS: usize = 8;
/// Writes before a failure and after it.
const ENOUGH: usize = 50;
/// Elected components, by the names of their Leases.
const ELECTED: [&str; 2] = ["kube-scheduler", "kube-controller-manager"];

/// What was measured.
#[derive(Default)]
struct Times {
    killed: Vec<Duration>,
    lost: Vec<Duration>,
    bound: Vec<Duration>,
    takeovers: [Vec<Duration>; 2],
}

/// Measures.
pub(crate) async fn run() -> Result<()> {
    let mut cluster = Cluster::start(Options::simulated(2)).await?;
    let mut times = Times::default();
    for round in 0..KILLS {
        kill(&cluster, round, &mut times).await?;
    }
    for round in 0..CUTS {
        cut(&cluster, round, &mut times).await?;
    }
    let writes = "leader process killed -> next acknowledged write";
    figures::print(writes, &mut times.killed, "60 ms, p99 250 ms");
    let writes = "leader host cut off -> next acknowledged write";
    figures::print(writes, &mut times.lost, "350 ms, p99 900 ms");
    let bound = "leader killed -> Pod of a Deployment made then is bound";
    figures::print(bound, &mut times.bound, "1000 ms (the real stack: 16-19 s)");
    for (name, all) in ELECTED.iter().zip(&mut times.takeovers) {
        let what = format!("{name} killed with its master -> next holder");
        figures::print(&what, all, "700 ms, p99 1500 ms");
    }
    cluster.stop().await
}

/// The leader's process is killed.
async fn kill(cluster: &Cluster, round: usize, times: &mut Times) -> Result<()> {
    let (leader, observer) = leader_and_other(cluster).await?;
    let writer = writing(&observer, &format!("kill-{round}")).await?;
    let mut before = Vec::new();
    for name in ELECTED {
        before.push(holder(&observer, name).await);
    }
    let pid = cluster.pid(&leader).await?;
    let moment = Instant::now();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
    let deployed = tokio::spawn(deploy(observer.clone(), format!("kill-{round}")));
    for (at, name) in ELECTED.iter().enumerate() {
        let old = before[at].clone();
        if !old.as_ref().is_some_and(|old| old.starts_with(&leader)) {
            continue;
        }
        until("somebody else holds the lease", || async {
            let now = holder(&observer, name).await;
            now.is_some() && now != old
        })
        .await;
        times.takeovers[at].push(moment.elapsed());
    }
    deployed.await??;
    times.bound.push(moment.elapsed());
    times.killed.push(outage(writer, moment).await?);
    cluster.host("start", &leader).await?;
    serves(cluster, &leader).await
}

/// The leader's host is cut off: nobody gets so much as a closed connection.
async fn cut(cluster: &Cluster, round: usize, times: &mut Times) -> Result<()> {
    let (leader, observer) = leader_and_other(cluster).await?;
    let writer = writing(&observer, &format!("cut-{round}")).await?;
    let moment = Instant::now();
    cluster.host("cut", &leader).await?;
    let outage = outage(writer, moment).await;
    cluster.host("heal", &leader).await?;
    times.lost.push(outage?);
    serves(cluster, &leader).await
}

/// Who leads the store, and a client of a master that does not.
async fn leader_and_other(cluster: &Cluster) -> Result<(String, Client)> {
    let leader = cluster.leader().await?;
    let other = cluster.masters().into_iter().find(|name| *name != leader).context("another")?;
    Ok((leader, cluster.client_of(&other)?))
}

/// A writer that is under way.
async fn writing(client: &Client, label: &str) -> Result<Writer> {
    let writer = Writer::start(client.clone(), label);
    until("writes are under way", || async { writer.so_far().acknowledged.len() >= ENOUGH }).await;
    Ok(writer)
}

/// The longest time without a write after a moment; nothing acknowledged may be lost.
async fn outage(writer: Writer, moment: Instant) -> Result<Duration> {
    until("writes go on", || async { writer.so_far().count_after(moment) >= ENOUGH }).await;
    let (writes, lost) = writer.finish().await?;
    anyhow::ensure!(lost.is_empty(), "acknowledged writes are lost: {lost:?}");
    Ok(writes.outage_after(moment))
}

/// Until a master serves reads that need the store.
async fn serves(cluster: &Cluster, master: &str) -> Result<()> {
    let client = cluster.client_of(master)?;
    until("the master serves again", || async { holder(&client, ELECTED[0]).await.is_some() })
        .await;
    until("everybody knows a leader", || async { cluster.leader().await.is_ok() }).await;
    Ok(())
}

/// Makes a Deployment of one and waits until its Pod has a node.
async fn deploy(client: Client, name: String) -> Result<()> {
    let deployment: Deployment = serde_json::from_value(serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"bench": name}}, "template": {
            "metadata": {"labels": {"bench": name}},
            "spec": {"containers": [{"name": "c", "image": "trireme.local/demo:1"}]}}},
    }))?;
    until("the Deployment is made", || async {
        match client.create(&deployment).await {
            Ok(_) => true,
            Err(error) => error.is_already_exists(),
        }
    })
    .await;
    let options = client::ListOptions::labels(format!("bench={name}"));
    until("its Pod has a node", || async {
        let pods = client.list::<Pod>("default", &options).await;
        let bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        pods.is_ok_and(|pods| pods.items.iter().any(bound))
    })
    .await;
    Ok(client.delete::<Deployment>("default", &name, &client::DeleteOptions::default()).await?)
}

/// Who holds a component's Lease.
async fn holder(client: &Client, name: &str) -> Option<String> {
    let lease = client.get::<Lease>("kube-system", name).await.ok()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}
