//! What an earlier agent has left: taken up where its Pod still is, removed where it is gone.

use crate::ctx::Ctx;
use crate::error::Result;
use crate::names;
use crate::pod::seen::{Seen, is_running};
use crate::volume;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Seconds that a Pod gets to stop when nobody has noted its own wish.
const GRACE: u64 = 30;

/// Sandboxes and containers of the runtime by the uid of their Pod.
pub(crate) async fn find(runtime: &dyn runtime::Runtime) -> Result<HashMap<String, Seen>> {
    let mut sandboxes: HashMap<String, Vec<_>> = HashMap::new();
    let mut owners = HashMap::new();
    for sandbox in runtime.list_pod_sandboxes().await? {
        owners.insert(sandbox.id.clone(), sandbox.config.uid.clone());
        sandboxes.entry(sandbox.config.uid.clone()).or_default().push(sandbox);
    }
    let mut containers: HashMap<String, Vec<_>> = HashMap::new();
    for container in runtime.list_containers().await? {
        if let Some(uid) = owners.get(&container.sandbox) {
            containers.entry(uid.clone()).or_default().push(container);
        }
    }
    let found = sandboxes.into_iter().map(|(uid, sandboxes)| {
        let own = containers.remove(&uid).unwrap_or_default();
        (uid, Seen::new(sandboxes, own))
    });
    Ok(found.collect())
}

/// Ends and removes what no Pod has claimed, and files of Pods that are gone.
pub(crate) async fn remove(
    ctx: Arc<Ctx>,
    unclaimed: HashMap<String, Seen>,
    alive: HashSet<String>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for (uid, seen) in unclaimed {
        tracing::info!(uid, "removing what is left of a pod that is gone");
        let ctx = ctx.clone();
        tasks.spawn(async move {
            if let Err(error) = end(&ctx, &uid, &seen).await {
                tracing::warn!(uid, error = error.text(), "leftovers not removed");
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    if let Some(network) = &ctx.network
        && let Err(error) = network.reclaim(&alive).await
    {
        tracing::warn!(error = stdx::chain(&error), "addresses not reclaimed");
    }
    if ctx.config.files {
        files(&ctx, &alive).await;
    }
}

/// Ends one Pod without a worker: there is nobody to tell.
async fn end(ctx: &Ctx, uid: &str, seen: &Seen) -> Result<()> {
    for sandbox in seen.sandbox.iter().chain(&seen.old) {
        let grace = sandbox.config.labels.get(names::POD_GRACE);
        let grace = grace.and_then(|text| text.parse().ok()).unwrap_or(GRACE);
        let running = seen.containers.iter().filter(|one| one.sandbox == sandbox.id);
        let running = running.filter(|one| is_running(one));
        let stops = running
            .map(|one| ctx.runtime.stop_container(&one.id, None, Duration::from_secs(grace)));
        for stopped in futures::future::join_all(stops).await {
            stopped?;
        }
        ctx.runtime.remove_pod_sandbox(&sandbox.id).await?;
    }
    if let Some(network) = &ctx.network {
        network.teardown_pod(uid).await?;
        network::netns::remove(&ctx.config.netns_dir.join(uid)).await?;
    }
    Ok(())
}

/// Removes directories of Pods that are gone.
async fn files(ctx: &Ctx, alive: &HashSet<String>) {
    let Ok(mut entries) = tokio::fs::read_dir(ctx.config.data_dir.join("pods")).await else {
        return;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if !alive.contains(&uid)
            && let Err(error) = volume::remove(entry.path()).await
        {
            tracing::warn!(uid, error = error.text(), "volumes not removed");
        }
    }
}
