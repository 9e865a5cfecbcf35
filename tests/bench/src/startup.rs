//! How long a cluster takes to be useful, and what it costs when idle.

use anyhow::{Context, Result};
use client::watch::{Event, Start};
use client::{DeleteOptions, Selection};
use harness::{Cluster, Options, resident};
use k8s_openapi::api::core::v1::Pod;
use std::time::{Duration, Instant};

use crate::figures;

/// Clusters started of each size.
const STARTS: usize = 5;
/// Pods whose start is measured.
const PODS: usize = 10;
/// Memory is read after so much quiet.
const QUIET: Duration = Duration::from_secs(15);

/// Measures.
pub(crate) async fn run() -> Result<()> {
    let binary = harness::binary();
    println!("binary size {}", figures::megabytes(std::fs::metadata(&binary)?.len()));
    starts(&Options { masters: 1, nodes: 1, ..Options::default() }).await?;
    starts(&Options::default()).await?;
    let mut cluster = Cluster::start(Options::default()).await?;
    let mut first_pod = Vec::new();
    for _ in 0..PODS {
        first_pod.push(pod_running(&cluster).await?);
    }
    figures::print("Pod created -> Running (image there)", &mut first_pod, "-");
    tokio::time::sleep(QUIET).await;
    println!("memory after {QUIET:?} of quiet (goal: 60 MB a master)");
    let status = cluster.status().await?;
    for one in ["members", "nodes"].iter().filter_map(|g| status[*g].as_array()).flatten() {
        let pid = i32::try_from(one["pid"].as_i64().context("a pid")?)?;
        let name = one["name"].as_str().unwrap_or_default();
        println!("idle memory of {name:<12} {}", figures::megabytes(resident(pid)?));
    }
    cluster.stop().await
}

/// Starts clusters in new directories: what `dev` says of each.
async fn starts(options: &Options) -> Result<()> {
    let what = format!("{} masters, {} nodes, {}", options.masters, options.nodes, options.runtime);
    let (mut api, mut nodes) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut cluster = Cluster::start(options.clone()).await?;
        let (ready, of_api) = seconds(&cluster.ready_line).context("a ready line with seconds")?;
        nodes.push(ready);
        api.push(of_api);
        cluster.stop().await?;
    }
    figures::print(&format!("dev started -> API ready on all ({what})"), &mut api, "500 ms");
    figures::print(&format!("dev started -> nodes Ready ({what})"), &mut nodes, "1000 ms");
    Ok(())
}

/// The seconds in `ready in 1.2 s (API 0.8 s): …`: to all, to the API.
fn seconds(line: &str) -> Option<(Duration, Duration)> {
    let number = |after: &str| {
        let (_, rest) = line.split_once(after)?;
        let (number, _) = rest.split_once(' ')?;
        number.parse().ok().map(Duration::from_secs_f64)
    };
    Some((number("ready in ")?, number("(API ")?))
}

/// From the request to the watch event that says Running.
async fn pod_running(cluster: &Cluster) -> Result<Duration> {
    let client = cluster.client()?;
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "bench-", "namespace": "default"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "trireme.local/demo:1", "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "1000"]}]},
    }))?;
    let started = Instant::now();
    let made = client.create(&pod).await?;
    let name = made.metadata.name.clone().context("a name")?;
    let fields = format!("metadata.name={name}");
    let selection = Selection { namespace: "default".into(), fields, ..Selection::default() };
    let mut watch = client.watch::<Pod>(&selection, &Start::Initial).await?;
    while let Some(event) = watch.next().await {
        let (Event::Added(pod) | Event::Modified(pod)) = event? else { continue };
        if pod.status.and_then(|status| status.phase).as_deref() == Some("Running") {
            break;
        }
    }
    let took = started.elapsed();
    match client.delete::<Pod>("default", &name, &DeleteOptions::now()).await {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(took),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood() {
        let line = "ready in 1.84 s (API 0.91 s): /tmp/t/kubeconfig";
        let (all, api) = seconds(line).expect("two numbers");
        assert_eq!((all.as_millis(), api.as_millis()), (1840, 910));
    }
}
