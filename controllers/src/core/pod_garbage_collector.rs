//! Removes Pods that nobody else will: on nodes that no longer exist or are out of service, told to
//! go before they were bound, or ended and too many.

use crate::{
    ctx::Ctx,
    error::{Doing, Error},
    manager::{Controller, Kind},
    node,
    node::taints::{self, OUT_OF_SERVICE},
    pods,
    watch::Watch,
};
use client::{DeleteOptions, Patch};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use stdx::Shutdown;

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "pod-garbage-collector-controller",
    component: "pod-garbage-collector",
    account: Some("pod-garbage-collector"),
    kind: Kind::Loop { watch, run: |ctx, shutdown| Box::pin(run(ctx, shutdown)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.reads::<Pod>();
    watch.reads::<Node>();
}

/// Why a Pod is removed.
#[derive(Clone, Debug, PartialEq)]
enum Reason {
    /// Too many have ended.
    Ended,
    /// Its node is out of service.
    OutOfService,
    /// Its node does not exist.
    NoNode,
    /// It was told to go before it was bound.
    Unbound,
}

impl Reason {
    /// The message of its condition; those that were not disrupted get none.
    fn message(&self) -> Option<&'static str> {
        match self {
            Self::NoNode => Some("PodGC: node no longer exists"),
            Self::OutOfService => Some("PodGC: node has been out-of-service"),
            Self::Ended | Self::Unbound => None,
        }
    }
}

/// Which Pods to remove. `missing` are the nodes that certainly don't exist.
fn plan(
    all: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    missing: &HashSet<String>,
    threshold: usize,
) -> Vec<(Arc<Pod>, Reason)> {
    let off: HashSet<&str> = nodes
        .iter()
        .filter(|one| node::ready(one) != "True" && has_out_of_service(one))
        .map(|one| node::name(one))
        .collect();
    let mut gone = Vec::new();
    let mut ended = Vec::new();
    for pod in all {
        let at = pods::node(pod);
        if at.is_empty() && pods::is_terminating(pod) {
            gone.push((pod.clone(), Reason::Unbound));
        } else if missing.contains(at) {
            gone.push((pod.clone(), Reason::NoNode));
        } else if off.contains(at) && pods::is_terminating(pod) {
            gone.push((pod.clone(), Reason::OutOfService));
        } else if pods::is_finished(pod) && !pods::is_terminating(pod) {
            ended.push(pod);
        }
    }
    if threshold > 0 && ended.len() > threshold {
        ended.sort_by_key(|pod| (pods::created(pod), pod.metadata.name.clone()));
        let surplus = ended.len() - threshold;
        gone.extend(ended.into_iter().take(surplus).map(|pod| (pod.clone(), Reason::Ended)));
    }
    gone
}

fn has_out_of_service(node: &Node) -> bool {
    taints::of(node).iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

async fn run(ctx: Arc<Ctx>, shutdown: Shutdown) -> Result<(), Error> {
    let times = ctx.config.profile.times();
    let mut tick = tokio::time::interval(times.pod_gc);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Since when nodes that Pods name are missing.
    let mut absent: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            _ = tick.tick() => {}
        }
        let all = ctx.cache::<Pod>().list();
        let nodes = ctx.cache::<Node>().list();
        let there: HashSet<&str> = nodes.iter().map(|one| node::name(one)).collect();
        let named = all.iter().map(|pod| pods::node(pod)).filter(|name| !name.is_empty());
        let lost: HashSet<&str> = named.filter(|name| !there.contains(name)).collect();
        absent.retain(|name, _| lost.contains(name.as_str()));
        let mut missing = HashSet::new();
        for name in lost {
            let since = absent.entry(name.to_owned()).or_insert_with(Instant::now);
            if since.elapsed() >= times.quarantine && is_missing(&ctx, name).await {
                missing.insert(name.to_owned());
            }
        }
        let gone = plan(&all, &nodes, &missing, ctx.config.terminated_pod_threshold);
        join_all(gone.iter().map(|(pod, reason)| remove(&ctx, pod, reason))).await;
    }
}

/// Asks the API server, not the cache.
async fn is_missing(ctx: &Ctx, node: &str) -> bool {
    matches!(
        tokio::time::timeout(Duration::from_secs(5), ctx.client.find::<Node>("", node)).await,
        Ok(Ok(None))
    )
}

async fn remove(ctx: &Ctx, pod: &Pod, reason: &Reason) {
    let (namespace, name) = (pods::namespace(pod), pods::name(pod));
    let done = async {
        if let Some(message) = reason.message().filter(|_| !pods::is_finished(pod)) {
            let now = ctx.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let condition = json!({"type": "DisruptionTarget", "status": "True",
                "reason": "DeletionByPodGC", "message": message,
                "observedGeneration": pod.metadata.generation, "lastTransitionTime": now});
            let mut status = pods::set_condition(pod, condition);
            status.insert("phase".into(), json!("Failed"));
            let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
            let marked = ctx.client.patch_status::<Pod>(namespace, name, Patch::Strategic(body));
            marked.await.gone_is_done("mark a pod as failed")?;
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            uid: pod.metadata.uid.clone(),
            ..DeleteOptions::default()
        };
        let deleted = ctx.client.delete::<Pod>(namespace, name, &options).await;
        deleted.gone_is_done("remove a pod")?;
        Ok::<(), Error>(())
    };
    match done.await {
        Err(error) if !error.is_expected() => {
            tracing::warn!(namespace, pod = name, error = stdx::chain(&error), "pod not removed");
        }
        _ => tracing::info!(namespace, pod = name, ?reason, "pod removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn names(all: &[(Arc<Pod>, Reason)]) -> Vec<(&str, Reason)> {
        all.iter().map(|(pod, reason)| (pods::name(pod), reason.clone())).collect()
    }

    #[test]
    fn pods_without_a_future_are_found() {
        let leaving = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let all = [
            Arc::new(pod("unbound", json!({"metadata": leaving.clone()}))),
            Arc::new(pod("orphan", json!({"spec": {"nodeName": "gone"}}))),
            Arc::new(pod("quarantined", json!({"spec": {"nodeName": "new"}}))),
            Arc::new(pod("off", json!({"metadata": leaving, "spec": {"nodeName": "off"}}))),
            Arc::new(pod("fine", json!({"spec": {"nodeName": "off"}}))),
        ];
        let off = node(
            "off",
            json!({"spec": {"taints": [
            {"key": OUT_OF_SERVICE, "effect": "NoExecute"}]}}),
        );
        let missing = ["gone".to_owned()].into();
        let found = plan(&all, &[Arc::new(off)], &missing, 10);
        let wanted = [
            ("unbound", Reason::Unbound),
            ("orphan", Reason::NoNode),
            ("off", Reason::OutOfService),
        ];
        assert_eq!(names(&found), wanted);
    }

    #[test]
    fn the_oldest_of_too_many_ended_pods_go() {
        let ended = |name: &str, at: &str| {
            Arc::new(pod(
                name,
                json!({"metadata": {"creationTimestamp": at},
                "status": {"phase": "Succeeded"}}),
            ))
        };
        let all = [ended("new", "2026-02-01T00:00:00Z"), ended("old", "2026-01-01T00:00:00Z")];
        let found = plan(&all, &[], &HashSet::new(), 1);
        assert_eq!(names(&found), [("old", Reason::Ended)]);
    }
}
