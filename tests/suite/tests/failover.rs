//! Masters die, and nothing stops: no acknowledged write is lost, no watch has a gap.

use anyhow::{Context, Result};
use client::watch::{Event, Start};
use client::{Client, ListOptions, Selection};
use harness::{Cluster, Options, Writer, until};
use k8s_openapi::api::core::v1::ConfigMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinHandle;

/// Writes that must follow a failure before it counts as survived.
const ENOUGH: usize = 20;

/// Names that a watch has seen added, in order, across reconnections.
struct Watcher {
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<Result<()>>,
}

impl Watcher {
    /// Watches a writer's objects from now on. A broken connection goes on at the last revision, and nothing ever
    /// begins with a list: that would come in the order of names.
    async fn start(client: Client, label: &str) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let labels = format!("writer={label}");
        let now = client.list::<ConfigMap>("default", &ListOptions::labels(&labels)).await?;
        let mut start = Start::After(now.revision().to_owned());
        let task = tokio::spawn(async move {
            let selection =
                Selection { namespace: "default".into(), labels, ..Selection::default() };
            loop {
                let Ok(mut watch) = client.watch::<ConfigMap>(&selection, &start).await else {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                };
                while let Some(Ok(event)) = watch.next().await {
                    match event {
                        Event::Added(object) => {
                            let revision = object.metadata.resource_version.clone();
                            start = Start::After(revision.context("a revision")?);
                            sink.lock().push(object.metadata.name.unwrap_or_default());
                        }
                        Event::Bookmark { revision, .. } => start = Start::After(revision),
                        Event::Modified(_) | Event::Deleted(_) => {}
                    }
                }
            }
        });
        Ok(Self { seen, task })
    }

    /// Waits until everything acknowledged was seen; fails if anything came twice or out of order.
    async fn finish(self, acknowledged: &[(String, Instant)]) -> Result<()> {
        let last = acknowledged.last().context("no writes")?.0.clone();
        until("the watch has seen the last write", || {
            let there = self.seen.lock().contains(&last);
            async move { there }
        })
        .await;
        self.task.abort();
        let seen = self.seen.lock().clone();
        let wanted: Vec<&str> = acknowledged.iter().map(|(name, _)| &**name).collect();
        let seen: Vec<&str> =
            seen.iter().map(|name| &**name).filter(|n| wanted.contains(n)).collect();
        assert_eq!(seen, wanted, "the watch saw each write once and in order");
        Ok(())
    }
}

/// A cluster without nodes, with a writer and a watcher on it.
async fn under_load(label: &str) -> Result<(Cluster, Writer, Watcher)> {
    let cluster = Cluster::start(Options { nodes: 0, ..Options::simulated(0) }).await?;
    let watcher = Watcher::start(cluster.client()?, label).await?;
    let writer = Writer::start(cluster.client()?, label);
    until("writes are under way", || async { writer.so_far().acknowledged.len() >= ENOUGH }).await;
    Ok((cluster, writer, watcher))
}

/// Waits until enough writes were acknowledged after a moment.
async fn goes_on(writer: &Writer, moment: Instant) {
    until("writes go on", || async { writer.so_far().count_after(moment) >= ENOUGH }).await;
}

/// Ends the load; everything acknowledged must be there and must have been seen.
async fn settle(writer: Writer, watcher: Watcher) -> Result<()> {
    let (writes, lost) = writer.finish().await?;
    assert_eq!(lost, Vec::<String>::new(), "acknowledged writes are there");
    watcher.finish(&writes.acknowledged).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_and_writes_go_on() -> Result<()> {
    let (mut cluster, writer, watcher) = under_load("kill").await?;
    let leader = cluster.leader().await?;
    let moment = Instant::now();
    cluster.host("kill", &leader).await?;
    goes_on(&writer, moment).await;
    cluster.host("start", &leader).await?;
    let there = cluster.client_of(&leader)?;
    let (name, _) = writer.so_far().acknowledged.last().cloned().context("a write")?;
    until("the restarted member has caught up", || async {
        there.get::<ConfigMap>("default", &name).await.is_ok()
    })
    .await;
    settle(writer, watcher).await?;
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_masters_are_killed_and_everything_is_still_there() -> Result<()> {
    let (mut cluster, writer, watcher) = under_load("all").await?;
    let masters = cluster.masters();
    for master in &masters {
        cluster.host("kill", master).await?;
    }
    let moment = Instant::now();
    for master in &masters {
        cluster.host("start", master).await?;
    }
    goes_on(&writer, moment).await;
    settle(writer, watcher).await?;
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_cut_off_and_comes_back() -> Result<()> {
    let (mut cluster, writer, watcher) = under_load("cut").await?;
    let leader = cluster.leader().await?;
    let moment = Instant::now();
    cluster.host("cut", &leader).await?;
    goes_on(&writer, moment).await;
    cluster.host("heal", &leader).await?;
    let there = cluster.client_of(&leader)?;
    let (name, _) = writer.so_far().acknowledged.last().cloned().context("a write")?;
    until("the member that was cut off has caught up", || async {
        there.get::<ConfigMap>("default", &name).await.is_ok()
    })
    .await;
    settle(writer, watcher).await?;
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_stopped_in_order_fails_no_request() -> Result<()> {
    let (mut cluster, writer, watcher) = under_load("stop").await?;
    let leader = cluster.leader().await?;
    let moment = Instant::now();
    cluster.host("stop", &leader).await?;
    goes_on(&writer, moment).await;
    assert_eq!(writer.so_far().errors, vec![], "no request failed");
    settle(writer, watcher).await?;
    cluster.stop().await
}
