//! Deployments: from one template to the next, through ReplicaSets, without losing too many Pods at
//! once.
//!
//! *New* is the ReplicaSet whose template equals the Deployment's, *old* are the others that it
//! owns. One reconciliation takes one step of a rollout; the ReplicaSets' changes bring the next.
//! `kubectl rollout undo` writes an old template back: its ReplicaSet becomes the new one again and
//! gets the next revision number.

mod plan;
mod sets;
mod status;

use crate::{
    claims,
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    owners, pods,
    selector::Selector,
    watch::Watch,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    core::v1::Pod,
};
use plan::{Change, Plan};
use std::sync::Arc;

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "deployment-controller",
    component: "deployment-controller",
    account: Some("deployment-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Pod>());
    owners::index(&watch.reads::<ReplicaSet>());
    watch.own::<Deployment>();
    watch.owned::<ReplicaSet>("Deployment");
    watch.maps::<ReplicaSet>(adopters);
    // The last old Pod that goes lets a Recreate go on.
    watch.changes::<Pod>(|ctx, old, new| match (old, new) {
        (Some(pod), None) => of_pod(ctx, pod),
        (Some(old), Some(new)) if !pods::is_finished(old) && pods::is_finished(new) => {
            of_pod(ctx, new)
        }
        _ => Vec::new(),
    });
}

/// The Deployments that may want a ReplicaSet that nobody controls.
fn adopters(ctx: &Ctx, set: &ReplicaSet) -> Vec<Key> {
    if owners::controller(&set.metadata).is_some() {
        return Vec::new();
    }
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let wants = |deployment: &Arc<Deployment>| {
        let selector = Selector::compile(Some(&deployment.spec.selector));
        selector.matches(set.metadata.labels.as_ref())
    };
    let all = ctx.cache::<Deployment>().list_ns(namespace);
    all.iter().filter(|one| wants(one)).map(|one| Key::of(&**one)).collect()
}

/// The Deployment above a Pod's ReplicaSet.
fn of_pod(ctx: &Ctx, pod: &Pod) -> Vec<Key> {
    let Some(owner) = owners::controller(&pod.metadata).filter(|one| one.kind == "ReplicaSet")
    else {
        return Vec::new();
    };
    let set = ctx.cache::<ReplicaSet>().get(pods::namespace(pod), &owner.name);
    let above = set.as_ref().and_then(|set| owners::controller(&set.metadata));
    above.map(|above| Key::new(pods::namespace(pod), &above.name)).into_iter().collect()
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(deployment) = ctx.cache::<Deployment>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let spec = &deployment.spec;
    let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
    let selector = Selector::compile(Some(&spec.selector));
    if selector.is_everything() {
        let note = "This deployment is selecting all pods. A non-empty selector is required.";
        ctx.warning(&*deployment, "SelectingAll", note);
        return Ok(Action::Done);
    }
    let candidates = owners::candidates(&ctx.cache::<ReplicaSet>(), &key.namespace, uid);
    let mine = claims::claim(&ctx, &key, &*deployment, &selector, candidates).await?;
    let running = with_running_pods(&ctx, &mine);
    let now = ctx.now();
    let plan = plan::plan(&deployment, &mine, &running, now);
    let failed = apply(&ctx, &key, &deployment, &plan).await?;
    let conditions = failed.as_ref().map_or_else(
        || plan.conditions.clone(),
        |failed| status::set(plan.conditions.clone(), failed.condition.clone()),
    );
    let wanted = status::of(&deployment, &plan, conditions, now);
    let revision = plan.changes.iter().find_map(|change| match change {
        Change::Revision(revision) => Some(revision),
        _ => None,
    });
    if deployment.status.as_ref() != Some(&wanted) || revision.is_some() {
        show(&ctx, &key, &deployment, &wanted, revision).await?;
    }
    match failed {
        Some(failed) => Err(failed.error),
        None => Ok(status::next_look(&deployment, &wanted, now)),
    }
}

/// Writes the status, and the revision with it: written by itself it would count as a new
/// generation, as every change of a Deployment's annotations does.
async fn show(
    ctx: &Ctx,
    key: &Key,
    deployment: &Deployment,
    wanted: &DeploymentStatus,
    revision: Option<&String>,
) -> Result<(), Error> {
    let mut object = deployment.clone();
    object.status = Some(wanted.clone());
    if let Some(revision) = revision {
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.insert(sets::REVISION.to_owned(), revision.clone());
    }
    let sent = ctx.client.update_status(&object).await;
    if let Some(written) = sent.gone_is_done("write the status of a deployment")? {
        ctx.wrote(key, &written);
    }
    Ok(())
}

/// The uids of ReplicaSets that still have Pods that have not ended.
fn with_running_pods(ctx: &Ctx, sets: &[Arc<ReplicaSet>]) -> Vec<String> {
    let pods = ctx.cache::<Pod>();
    let uids = sets.iter().filter_map(|set| set.metadata.uid.clone());
    uids.filter(|uid| owners::owned(&pods, uid).iter().any(|pod| !pods::is_finished(pod))).collect()
}

/// A ReplicaSet that could not be made.
struct Failed {
    condition: DeploymentCondition,
    error: Error,
}

async fn apply(
    ctx: &Ctx,
    key: &Key,
    deployment: &Deployment,
    plan: &Plan,
) -> Result<Option<Failed>, Error> {
    for change in &plan.changes {
        match change {
            Change::Create(set) => {
                if let Some(failed) = create(ctx, key, deployment, set).await? {
                    return Ok(Some(failed));
                }
            }
            Change::Annotate(set) => {
                ctx.update(key, &**set).await?;
            }
            Change::Scale { set, from } => {
                ctx.update(key, &**set).await?;
                let to = sets::replicas(set);
                let way = if to > *from { "up" } else { "down" };
                if to != *from {
                    let name = set.metadata.name.as_deref().unwrap_or_default();
                    let note = format!("Scaled {way} replica set {name} from {from} to {to}");
                    ctx.normal(deployment, "ScalingReplicaSet", &note);
                }
            }
            // Written with the status.
            Change::Revision(_) => {}
            Change::Remove(set) => {
                ctx.delete(key, &**set).await.doing("remove an old replica set")?;
            }
        }
    }
    Ok(None)
}

/// Makes the new ReplicaSet. Another object of its name means that two templates share a hash: the
/// next attempt counts one collision more.
async fn create(
    ctx: &Ctx,
    key: &Key,
    deployment: &Deployment,
    set: &ReplicaSet,
) -> Result<Option<Failed>, Error> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let source = match ctx.create(key, set).await {
        Ok(_) => {
            let to = sets::replicas(set);
            if to > 0 {
                let note = format!("Scaled up replica set {name} from 0 to {to}");
                ctx.normal(deployment, "ScalingReplicaSet", &note);
            }
            return Ok(None);
        }
        Err(error) => error,
    };
    if source.is_already_exists() {
        let there = ctx.client.get::<ReplicaSet>(&key.namespace, name).await;
        let there = there.doing("look at the replica set of that name")?;
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let mine = owners::is_controlled_by(&there.metadata, uid);
        if mine && sets::same_template(&there, set.spec.template.as_ref()) {
            ctx.wrote(key, &there);
            return Ok(None);
        }
        let count = deployment.status.as_ref().and_then(|status| status.collision_count);
        let mut object = deployment.clone();
        object.status.get_or_insert_default().collision_count = Some(count.unwrap_or(0) + 1);
        let written = ctx.client.update_status(&object).await.doing("count a collision")?;
        ctx.wrote(key, &written);
        return Err(Error::Request { doing: "make the new replica set", source });
    }
    if super::replicas::in_terminating_namespace(&source) {
        return Ok(None);
    }
    let message = format!("Failed to create new replica set \"{name}\": {source}");
    ctx.warning(deployment, "ReplicaSetCreateError", &message);
    let condition =
        status::condition("Progressing", "False", "ReplicaSetCreateError", message, ctx.now());
    let error = Error::Request { doing: "make the new replica set", source };
    Ok(Some(Failed { condition, error }))
}
