//! Masters are killed again and again under load: how long until the next write, until somebody else schedules, until
//! somebody else controls.

use anyhow::{Context, Result};
use client::Client;
use harness::{Cluster, Options, Writer, until};
use k8s_openapi::api::coordination::v1::Lease;
use std::time::{Duration, Instant};

use crate::figures;

/// Leaders killed.
const KILLS: usize = 20;
/// Writes before a kill and after it.
const ENOUGH: usize = 50;
/// Elected components, by the names of their Leases.
const ELECTED: [&str; 2] = ["kube-scheduler", "kube-controller-manager"];

/// Measures.
pub(crate) async fn run() -> Result<()> {
    let mut cluster = Cluster::start(Options::simulated(2)).await?;
    let (mut outages, mut takeovers) = (Vec::new(), [Vec::new(), Vec::new()]);
    for round in 0..KILLS {
        round_of(&cluster, round, &mut outages, &mut takeovers).await?;
    }
    figures::print(
        "leader process killed -> next acknowledged write",
        &mut outages,
        "60 ms, p99 250 ms",
    );
    for (name, all) in ELECTED.iter().zip(&mut takeovers) {
        figures::print(
            &format!("{name} killed with its master -> next holder"),
            all,
            "700 ms, p99 1500 ms",
        );
    }
    cluster.stop().await
}

async fn round_of(
    cluster: &Cluster,
    round: usize,
    outages: &mut Vec<Duration>,
    takeovers: &mut [Vec<Duration>; 2],
) -> Result<()> {
    let writer = Writer::start(cluster.client()?, &format!("round-{round}"));
    until("writes are under way", || async { writer.so_far().acknowledged.len() >= ENOUGH }).await;
    let leader = cluster.leader().await?;
    let observer = cluster.masters().into_iter().find(|name| *name != leader).context("another")?;
    let observer = cluster.client_of(&observer)?;
    let mut before = Vec::new();
    for name in ELECTED {
        before.push(holder(&observer, name).await);
    }
    let pid = cluster.pid(&leader).await?;
    let moment = Instant::now();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
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
        takeovers[at].push(moment.elapsed());
    }
    until("writes go on", || async { writer.so_far().count_after(moment) >= ENOUGH }).await;
    let (writes, lost) = writer.finish().await?;
    anyhow::ensure!(lost.is_empty(), "acknowledged writes are lost: {lost:?}");
    outages.push(writes.outage_after(moment));
    cluster.host("start", &leader).await?;
    let back = cluster.client_of(&leader)?;
    until("the killed master serves again", || async { holder(&back, ELECTED[0]).await.is_some() })
        .await;
    Ok(())
}

/// Who holds a component's Lease.
async fn holder(client: &Client, name: &str) -> Option<String> {
    let lease = client.get::<Lease>("kube-system", name).await.ok()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}
