//! Node health: who stopped sending heartbeats, and what follows.
//!
//! A *heartbeat* is a renewed Lease in `kube-node-lease` or a new Ready condition: a node counts as
//! silent only when both stand still. How long it has been silent is measured by this process's
//! clock from the moment a heartbeat was *seen*, so clocks need not agree. The clock stands still
//! while the control plane itself could not have taken heartbeats: before every round a read that
//! needs the store's quorum must succeed, and the time it took, or failed, counts for nobody.
//! Before a node is given up its Lease is read once more past the cache.
//!
//! A silent node gets Ready=Unknown, its Pods Ready=False (so that they leave the endpoints), and
//! taints: NoSchedule at once, NoExecute as fast as the profile allows, but not while every node is
//! silent: then the fault is more likely here. Evicting is the taint-eviction controller's work.

mod health;

use super::{name, ready, taint_eviction, taints};
use crate::{
    ctx::Ctx,
    error::{Doing, Error},
    manager::{Controller, Kind},
    pods,
    watch::Watch,
};
use client::{DeleteOptions, ListOptions, Patch};
use futures::future::join_all;
use health::{Beat, Health};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use stdx::Shutdown;
use tokio::sync::Notify;

/// Where nodes' Leases are.
const LEASES: &str = "kube-node-lease";
/// Rounds follow each other no faster, however fast nodes change.
const BREATH: Duration = Duration::from_millis(20);
/// Labels that older clients read, and what they are copied from.
const OLD_LABELS: [(&str, &str); 2] = [
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
];

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "node-lifecycle-controller",
    component: "node-controller",
    account: Some("node-controller"),
    kind: Kind::Loop { watch, run: |ctx, shutdown| Box::pin(run(ctx, shutdown)) },
};

fn watch(watch: &mut Watch<'_>) {
    taint_eviction::index(&watch.reads::<Pod>());
    watch.reads::<Node>();
    watch.reads::<Lease>();
}

/// What the loop remembers.
struct Monitor {
    health: Health,
    /// Nodes that were told of as registered.
    known: HashSet<String>,
    /// When a node of each zone began to lose its Pods last.
    evicting: HashMap<String, Instant>,
}

async fn run(ctx: Arc<Ctx>, shutdown: Shutdown) -> Result<(), Error> {
    let times = ctx.config.profile.times();
    let notify = Arc::new(Notify::new());
    super::wake::<Node>(&ctx, &shutdown, &notify);
    let mut monitor = Monitor {
        health: Health::new(times.grace, times.startup_grace, Instant::now()),
        known: HashSet::new(),
        evicting: HashMap::new(),
    };
    let mut tick = tokio::time::interval(times.monitor);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            _ = tick.tick() => {
                if shutdown.guard(monitor.round(&ctx, times.monitor)).await.is_none() {
                    return Ok(());
                }
            }
            () = notify.notified() => {
                tokio::time::sleep(BREATH).await;
                monitor.mark(&ctx).await;
            }
        }
    }
}

impl Monitor {
    /// Looks at every node's heartbeats.
    async fn round(&mut self, ctx: &Ctx, period: Duration) {
        let started = Instant::now();
        let works = control_plane_works(ctx, period.max(Duration::from_millis(500))).await;
        self.health.passed(started, Instant::now(), works, period);
        if !works {
            return;
        }
        let nodes = ctx.cache::<Node>().list();
        let leases = ctx.cache::<Lease>();
        self.register(ctx, &nodes);
        let mut silent = Vec::new();
        for node in &nodes {
            let lease = leases.get(LEASES, name(node));
            let beat = Beat::of(node, lease.as_deref());
            if self.health.is_silent(name(node), beat, Instant::now()) {
                silent.push(node.clone());
            }
        }
        let mut lost = Vec::new();
        for node in silent {
            if self.is_really_silent(ctx, &node).await {
                lost.push(node);
            }
        }
        join_all(lost.iter().map(|node| give_up(ctx, node))).await;
        self.mark(ctx).await;
        force_removal(ctx, &nodes).await;
    }

    /// Reads the Lease past the cache, which may lag.
    async fn is_really_silent(&mut self, ctx: &Ctx, node: &Node) -> bool {
        let lease = ctx.client.find::<Lease>(LEASES, name(node)).await;
        let Ok(lease) = lease else { return false };
        self.health.is_silent(name(node), Beat::of(node, lease.as_ref()), Instant::now())
    }

    /// Tells of nodes that came and went.
    fn register(&mut self, ctx: &Ctx, nodes: &[Arc<Node>]) {
        let now: HashSet<String> = nodes.iter().map(|node| name(node).to_owned()).collect();
        for node in nodes.iter().filter(|node| !self.known.contains(name(node))) {
            let of = name(node);
            let note = format!("Node {of} event: Registered Node {of} in Controller");
            ctx.normal(&**node, "RegisteredNode", &note);
        }
        for gone in self.known.difference(&now) {
            let note = format!("Node {gone} event: Removing Node {gone} from Controller");
            let mut node = Node::default();
            node.metadata.name = Some(gone.clone());
            node.metadata.uid = Some(gone.clone());
            ctx.normal(&node, "RemovingNode", &note);
        }
        self.health.forget_others(&now);
        self.known = now;
    }

    /// Brings every node's taints and labels in line with its conditions.
    async fn mark(&mut self, ctx: &Ctx) {
        let nodes = ctx.cache::<Node>().list();
        let all_down = nodes.iter().all(|node| ready(node) != "True");
        let interval = ctx.config.profile.times().eviction_interval;
        let mut changes = Vec::new();
        for node in &nodes {
            let down = ready(node) != "True";
            let key =
                if ready(node) == "Unknown" { taints::UNREACHABLE } else { taints::NOT_READY };
            let already = taints::has(node, key, taints::NO_EXECUTE);
            let evict = down && !already && !all_down && self.may_evict(node, interval);
            changes.extend(change(ctx, node, evict).map(|body| (name(node).to_owned(), body)));
        }
        let sent = changes.into_iter().map(|(name, body)| async move {
            let written = ctx.client.patch::<Node>("", &name, Patch::Merge(body)).await;
            match written.gone_is_done("mark the node") {
                Ok(Some(written)) => {
                    let cache = ctx.cache::<Node>();
                    cache.wrote(&written);
                    let wait = cache.until_settled("", &name);
                    // A cache that lags is no reason to wait long: the write is conditional.
                    if tokio::time::timeout(Duration::from_secs(1), wait).await.is_err() {
                        tracing::debug!(node = name, "the cache lags");
                    }
                }
                Ok(None) => {}
                Err(error) if error.is_expected() => {}
                Err(error) => {
                    tracing::warn!(node = name, error = stdx::chain(&error), "node not marked");
                }
            }
        });
        join_all(sent).await;
    }

    /// Whether a node of this zone may begin to lose its Pods now.
    fn may_evict(&mut self, node: &Node, interval: Duration) -> bool {
        let labels = node.metadata.labels.as_ref();
        let zone = labels.and_then(|labels| labels.get("topology.kubernetes.io/zone"));
        let zone = zone.cloned().unwrap_or_default();
        let last = self.evicting.get(&zone);
        let may = interval.is_zero() || last.is_none_or(|last| last.elapsed() >= interval);
        if may {
            self.evicting.insert(zone, Instant::now());
        }
        may
    }
}

/// A read that needs the store's quorum answers in time.
async fn control_plane_works(ctx: &Ctx, patience: Duration) -> bool {
    let one = ListOptions { limit: 1, ..ListOptions::default() };
    let read = ctx.client.list::<Node>("", &one);
    matches!(tokio::time::timeout(patience, read).await, Ok(Ok(_)))
}

/// The patch that brings a node's taints and labels up to date, if they are not.
fn change(ctx: &Ctx, node: &Node, evict: bool) -> Option<serde_json::Value> {
    let mut metadata = serde_json::Map::new();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    for (old, new) in OLD_LABELS {
        if let Some(value) = labels.get(new).filter(|value| labels.get(old) != Some(value)) {
            metadata.insert("labels".into(), json!({old: value}));
        }
    }
    let wanted = taints::wanted(node, evict, ctx.now());
    if metadata.is_empty() && wanted.is_none() {
        return None;
    }
    let mut body = json!({});
    if let Some(wanted) = wanted {
        // Whoever changed the taints meanwhile must not be overwritten.
        let version = node.metadata.resource_version.clone();
        metadata.insert("resourceVersion".into(), json!(version));
        body["spec"] = json!({"taints": (!wanted.is_empty()).then_some(wanted)});
    }
    body["metadata"] = metadata.into();
    Some(body)
}

/// Shows that a node is silent, and takes its Pods out of service.
async fn give_up(ctx: &Ctx, node: &Node) {
    let name = name(node);
    let was_ready = ready(node) == "True";
    if let Some(conditions) = health::unknown(node, ctx.now()) {
        let body = json!({"metadata": {"uid": node.metadata.uid},
            "status": {"conditions": conditions}});
        let sent = ctx.client.patch_status::<Node>("", name, Patch::Strategic(body)).await;
        match sent.gone_is_done("mark the node as silent") {
            Ok(Some(written)) => {
                let cache = ctx.cache::<Node>();
                cache.wrote(&written);
                let wait = cache.until_settled("", name);
                let _ = tokio::time::timeout(Duration::from_secs(1), wait).await;
                tracing::info!(node = name, "node is silent");
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(node = name, error = stdx::chain(&error), "node not marked");
                return;
            }
        }
        if was_ready {
            let note = format!("Node {name} status is now: NodeNotReady");
            ctx.normal(node, "NodeNotReady", &note);
        }
    }
    let all = ctx.cache::<Pod>().by_index(taint_eviction::BY_NODE, name);
    let serving = all.iter().filter(|pod| pods::is_ready(pod));
    join_all(serving.map(|pod| take_out(ctx, pod))).await;
}

/// Shows a Pod as not ready, because nobody can tell.
async fn take_out(ctx: &Ctx, pod: &Pod) {
    let (namespace, name) = (pods::namespace(pod), pods::name(pod));
    let now = ctx.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
        {"type": "Ready", "status": "False", "lastTransitionTime": now,
            "observedGeneration": pod.metadata.generation}]}});
    ctx.warning(pod, "NodeNotReady", "Node is not ready");
    let sent = ctx.client.patch_status::<Pod>(namespace, name, Patch::Strategic(body)).await;
    if let Err(error) = sent.gone_is_done("take a pod out of service")
        && !error.is_expected()
    {
        tracing::warn!(namespace, pod = name, error = stdx::chain(&error), "pod still in service");
    }
}

/// Removes Pods whose time to stop is over on nodes that can't say so (`fast` profile).
async fn force_removal(ctx: &Ctx, nodes: &[Arc<Node>]) {
    let Some(patience) = ctx.config.profile.times().force_removal else { return };
    let now = ctx.now();
    for node in nodes {
        if !taints::has(node, taints::UNREACHABLE, taints::NO_EXECUTE) {
            continue;
        }
        for pod in ctx.cache::<Pod>().by_index(taint_eviction::BY_NODE, name(node)) {
            let Some(at) = &pod.metadata.deletion_timestamp else { continue };
            let over = Duration::try_from(now.duration_since(at.0)).unwrap_or(Duration::ZERO);
            if over < patience {
                continue;
            }
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                uid: pod.metadata.uid.clone(),
                ..DeleteOptions::default()
            };
            let (namespace, name) = (pods::namespace(&pod), pods::name(&pod));
            match ctx.client.delete::<Pod>(namespace, name, &options).await {
                Err(error) if !error.is_not_found() => {
                    let error = stdx::chain(&error);
                    tracing::warn!(namespace, pod = name, error, "pod not removed");
                }
                _ => tracing::info!(namespace, pod = name, "removed from a silent node"),
            }
        }
    }
}
