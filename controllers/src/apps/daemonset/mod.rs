//! DaemonSets: one Pod on every node that fits.
//!
//! The scheduler binds the Pods, but each says by node affinity on `metadata.name` which node it is
//! for. A node that no longer tolerates being chosen keeps its Pod (`NoSchedule`), one that evicts
//! loses it (`NoExecute`).

mod placement;
mod plan;

use super::{
    history::{self, Subject, Updated},
    replicas,
};
use crate::{
    claims,
    ctx::{Action, Ctx, Key, controller_of, owned},
    error::{Doing, Error},
    manager::{Controller, Kind},
    owners, pods,
    selector::Selector,
    watch::Watch,
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use placement::Fit;
use plan::Situation;
use std::{sync::Arc, time::Duration};

/// Annotation with the number of template changes, kept by the API server.
const GENERATION: &str = "deprecated.daemonset.template.generation";
/// Label with the same on Pods.
const POD_GENERATION: &str = "pod-template-generation";
/// Most Pods made or removed in one go.
const BURST: usize = 250;
/// How long a failed Pod's node waits for the next Pod.
const FAILED_DELAY: Duration = Duration::from_secs(1);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "daemonset-controller",
    component: "daemonset-controller",
    account: Some("daemon-set-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Pod>());
    owners::index(&watch.reads::<ControllerRevision>());
    watch.own::<DaemonSet>();
    watch.owned::<Pod>("DaemonSet");
    watch.owned::<ControllerRevision>("DaemonSet");
    watch.maps::<Pod>(adopters);
    watch.changes::<Node>(|ctx, old, new| {
        // Heartbeats change nodes all the time; only what decides about placement matters.
        let same = match (old, new) {
            (Some(old), Some(new)) => {
                old.metadata.labels == new.metadata.labels && old.spec == new.spec
            }
            _ => false,
        };
        if same || new.is_none() {
            return Vec::new();
        }
        let all = ctx.cache::<DaemonSet>().list();
        let concerned = all.iter().filter(|set| {
            let before = old.map(|node| placement::fit(set, node));
            before != new.map(|node| placement::fit(set, node))
        });
        concerned.map(|set| Key::of(&**set)).collect()
    });
}

/// The DaemonSets that may want a Pod that nobody controls.
fn adopters(ctx: &Ctx, pod: &Pod) -> Vec<Key> {
    if owners::controller(&pod.metadata).is_some() {
        return Vec::new();
    }
    let all = ctx.cache::<DaemonSet>().list_ns(pods::namespace(pod));
    let wants = |set: &&Arc<DaemonSet>| {
        Selector::compile(Some(&set.spec.selector)).matches(pod.metadata.labels.as_ref())
    };
    all.iter().filter(wants).map(|set| Key::of(&**set)).collect()
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(set) = ctx.cache::<DaemonSet>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let selector = Selector::compile(Some(&set.spec.selector));
    if selector.is_everything() {
        let note = "This daemon set is selecting all pods. A non-empty selector is required.";
        ctx.warning(&*set, "SelectingAll", note);
        return Ok(Action::Done);
    }
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Action::Done);
    }
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let revisions = owners::candidates(&ctx.cache::<ControllerRevision>(), &key.namespace, uid);
    let revisions = claims::claim(&ctx, &key, &*set, &selector, revisions).await?;
    let revisions = history::sorted(revisions);
    let labels = set.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    let subject = Subject {
        owner: &*set,
        template: &set.spec.template,
        labels: labels.unwrap_or_default(),
        collisions,
    };
    let current = match history::update(&ctx, &key, &subject, &revisions).await? {
        Updated::Revision(current) => current,
        Updated::Collision => return collide(&ctx, &key, &set, collisions).await,
    };
    let candidates = owners::candidates(&ctx.cache::<Pod>(), &key.namespace, uid);
    let mine = claims::claim(&ctx, &key, &*set, &selector, candidates).await?;
    let nodes = ctx.cache::<Node>().list();
    let situation = Situation::new(&set, &nodes, &mine, history::hash_of(&current), ctx.now());
    let plan = situation.plan();
    let failed = apply(&ctx, &key, &set, &plan, history::hash_of(&current)).await;
    for old in situation.old_revisions(&revisions, &current) {
        ctx.delete(&key, &*old).await.doing("remove an old revision")?;
    }
    let status = situation.status(&set);
    if set.status.as_ref() != Some(&status) {
        let mut set = owned(&set);
        set.status = Some(status);
        ctx.update_status(&key, &set).await?;
    }
    failed.doing("keep the pods of a daemon set")?;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let next = replicas::next_look(&mine, min_ready, ctx.now());
    Ok(if plan.failed.is_empty() { next } else { next.sooner(Action::After(FAILED_DELAY)) })
}

async fn collide(
    ctx: &Ctx,
    key: &Key,
    set: &Arc<DaemonSet>,
    collisions: Option<i32>,
) -> Result<Action, Error> {
    let mut set = owned(set);
    let status = set.status.get_or_insert_default();
    status.collision_count = Some(collisions.unwrap_or(0) + 1);
    ctx.update_status(key, &set).await?;
    Ok(Action::After(Duration::from_millis(10)))
}

async fn apply(
    ctx: &Ctx,
    key: &Key,
    set: &DaemonSet,
    plan: &plan::Plan,
    hash: &str,
) -> Result<(), client::Error> {
    for (pod, phase) in &plan.failed {
        let (reason, kind) = if *phase == "Failed" {
            ("FailedDaemonPod", client::events::Type::Warning)
        } else {
            ("SucceededDaemonPod", client::events::Type::Normal)
        };
        let what = phase.to_lowercase();
        let verb = if *phase == "Failed" { "kill" } else { "delete" };
        let (name, node) = (pods::name(pod), pods::node(pod));
        let note = format!(
            "Found {what} daemon pod {key_ns}/{name} on node {node}, will try to {verb} it",
            key_ns = key.namespace
        );
        ctx.tell(set, kind, reason, &note);
    }
    let new: Vec<Pod> =
        plan.create.iter().take(BURST).map(|node| make(set, key, node, hash)).collect();
    replicas::create(ctx, key, set, &new).await?;
    let gone: Vec<Arc<Pod>> = plan.delete.iter().take(BURST).cloned().collect();
    replicas::delete(ctx, key, set, &gone).await
}

/// The Pod for one node.
fn make(set: &DaemonSet, key: &Key, node: &str, hash: &str) -> Pod {
    let mut pod =
        pods::from_template(&set.spec.template, &key.namespace, &key.name, controller_of(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(history::HASH.into(), hash.to_owned());
    let annotations = set.metadata.annotations.as_ref();
    if let Some(generation) = annotations.and_then(|all| all.get(GENERATION)) {
        labels.insert(POD_GENERATION.into(), generation.clone());
    }
    let spec = pod.spec.get_or_insert_default();
    placement::bind(spec, node);
    let host_network = spec.host_network == Some(true);
    placement::tolerate(spec.tolerations.get_or_insert_default(), host_network);
    pod
}

/// Whether a node's Pod should be there.
pub(crate) fn should_run(fit: Fit) -> bool {
    fit == Fit::Run
}
