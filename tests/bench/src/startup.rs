//! How long a cluster takes to be useful, and what it costs when idle.

use anyhow::{Context, Result};
use client::watch::{Event, Start};
use client::{DeleteOptions, Selection};
use harness::{Cluster, Options, resident};
use k8s_openapi::api::core::v1::Pod;
use std::time::{Duration, Instant};

use crate::figures;

/// Runs of each measurement.
const RUNS: usize = 5;
/// Memory is read after so much quiet.
const QUIET: Duration = Duration::from_secs(15);

/// Measures.
pub(crate) async fn run() -> Result<()> {
    let binary = harness::binary();
    println!("binary size {}", figures::megabytes(std::fs::metadata(&binary)?.len()));
    let mut first_pod = Vec::new();
    let mut cluster = Cluster::start(Options::default()).await?;
    println!("{} (3 masters, 2 nodes, runc)", cluster.ready_line);
    for _ in 0..RUNS {
        first_pod.push(pod_running(&cluster).await?);
    }
    figures::print("Pod created -> Running (image there)", &mut first_pod, "-");
    tokio::time::sleep(QUIET).await;
    let status = cluster.status().await?;
    for one in ["members", "nodes"].iter().filter_map(|g| status[*g].as_array()).flatten() {
        let pid = i32::try_from(one["pid"].as_i64().context("a pid")?)?;
        let name = one["name"].as_str().unwrap_or_default();
        println!("idle memory of {name:<12} {}", figures::megabytes(resident(pid)?));
    }
    cluster.stop().await
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
