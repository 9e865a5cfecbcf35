//! StatefulSets: Pods with names, claims and an order.
//!
//! *Ordinal*: the number at the end of a Pod's name. *Healthy*: available and not told to go. With
//! `OrderedReady` one Pod is touched at a time, and nothing happens past a Pod that is not healthy;
//! with `Parallel` Pods come and go together, but an update still replaces one at a time. Updates
//! go from the highest ordinal down to the partition.

mod identity;
mod plan;

use super::history::{self, Subject, Updated};
use crate::{
    claims,
    ctx::{Action, Ctx, Key, owned},
    error::{Doing, Error},
    manager::{Controller, Kind},
    owners, pods,
    selector::Selector,
    watch::Watch,
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec},
};
use plan::{Change, Plan, Revisions};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "statefulset-controller",
    component: "statefulset-controller",
    account: Some("statefulset-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Pod>());
    owners::index(&watch.reads::<ControllerRevision>());
    watch.reads::<PersistentVolumeClaim>();
    watch.own::<StatefulSet>();
    watch.owned::<Pod>("StatefulSet");
    watch.maps::<Pod>(|ctx, pod| {
        // A Pod without controller concerns the set that its name belongs to.
        if owners::controller(&pod.metadata).is_some() {
            return Vec::new();
        }
        let Some((set, _)) = identity::split(pods::name(pod)) else { return Vec::new() };
        let there = ctx.cache::<StatefulSet>().get(pods::namespace(pod), set);
        there.map(|_| Key::new(pods::namespace(pod), set)).into_iter().collect()
    });
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(set) = ctx.cache::<StatefulSet>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let selector = Selector::compile(Some(&set.spec.selector));
    if selector.is_everything() {
        return Ok(Action::Done);
    }
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let revisions = owners::candidates(&ctx.cache::<ControllerRevision>(), &key.namespace, uid);
    let revisions = claims::claim(&ctx, &key, &*set, &selector, revisions).await?;
    let revisions = history::sorted(revisions);
    let mut candidates = owners::candidates(&ctx.cache::<Pod>(), &key.namespace, uid);
    candidates.retain(|pod| {
        owners::is_controlled_by(&pod.metadata, uid)
            || identity::split(pods::name(pod)).is_some_and(|(name, _)| name == key.name)
    });
    let mine = claims::claim(&ctx, &key, &*set, &selector, candidates).await?;
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Action::Done);
    }
    let collisions = set.status.as_ref().and_then(|status| status.collision_count);
    let labels = set.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    let subject = Subject {
        owner: &*set,
        template: &set.spec.template,
        labels: labels.unwrap_or_default(),
        collisions: collisions.filter(|count| *count > 0),
    };
    let update = match history::update(&ctx, &key, &subject, &revisions).await? {
        Updated::Revision(update) => update,
        Updated::Collision => {
            let mut set = owned(&set);
            let status = set.status.get_or_insert_default();
            status.collision_count = Some(collisions.unwrap_or(0) + 1);
            ctx.update_status(&key, &set).await?;
            return Ok(Action::After(Duration::from_millis(10)));
        }
    };
    let known = set.status.as_ref().and_then(|status| status.current_revision.clone());
    let current = revisions.iter().find(|one| known.as_deref() == Some(history::name(one)));
    let current = current.cloned().unwrap_or_else(|| update.clone());
    let names = Revisions {
        current: history::name(&current).to_owned(),
        update: history::name(&update).to_owned(),
    };
    let plan = plan::plan(&set, &mine, &names, ctx.now());
    let old_template = template(&current).unwrap_or_else(|| set.spec.template.clone());
    let done = apply(&ctx, &key, &set, &plan, &names, &old_template).await;
    let status = plan.status(&set, &names, done.is_ok());
    if set.status.as_ref() != Some(&status) {
        let mut set = owned(&set);
        set.status = Some(status);
        ctx.update_status(&key, &set).await?;
    }
    done?;
    let used: HashSet<&str> = mine.iter().filter_map(|pod| plan::revision(pod)).collect();
    let limit = set.spec.revision_history_limit.unwrap_or(10);
    let gone = history::surplus(&revisions, limit, |one| {
        let name = history::name(one);
        name == names.current || name == names.update || used.contains(name)
    });
    for old in gone {
        ctx.delete(&key, &*old).await.doing("remove an old revision")?;
    }
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    Ok(super::replicas::next_look(&mine, min_ready, ctx.now()))
}

/// The template that a revision stands for.
fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

async fn apply(
    ctx: &Ctx,
    key: &Key,
    set: &StatefulSet,
    plan: &Plan,
    names: &Revisions,
    old_template: &PodTemplateSpec,
) -> Result<(), Error> {
    for change in &plan.changes {
        match change {
            Change::Create { ordinal, old } => {
                let (template, revision) = if *old {
                    (old_template, &names.current)
                } else {
                    (&set.spec.template, &names.update)
                };
                let pod = identity::make(set, template, *ordinal, revision);
                claim_volumes(ctx, key, set, &pod, *ordinal).await?;
                create(ctx, key, set, &pod).await?;
            }
            Change::Delete(pod) => {
                let (name, of) = (pods::name(pod), &key.name);
                match ctx.delete(key, &**pod).await {
                    Ok(()) => {
                        let note = format!("Delete Pod {name} in StatefulSet {of} successful");
                        ctx.normal(set, "SuccessfulDelete", &note);
                    }
                    Err(source) => {
                        let note =
                            format!("Delete Pod {name} in StatefulSet {of} failed error: {source}");
                        ctx.warning(set, "FailedDelete", &note);
                        return Err(Error::Request { doing: "remove a pod", source });
                    }
                }
            }
            Change::Identify(pod) => {
                ctx.update(key, &**pod).await?;
            }
        }
    }
    for pod in &plan.kept {
        own_claims(ctx, key, set, pod, false).await?;
    }
    for pod in &plan.condemned {
        own_claims(ctx, key, set, pod, true).await?;
    }
    Ok(())
}

async fn create(ctx: &Ctx, key: &Key, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
    let (name, of) = (pods::name(pod), &key.name);
    match ctx.create(key, pod).await {
        Ok(_) => {
            let note = format!("Create Pod {name} in StatefulSet {of} successful");
            ctx.normal(set, "SuccessfulCreate", &note);
            Ok(())
        }
        Err(error) if super::in_terminating_namespace(&error) => Ok(()),
        Err(source) => {
            let note = format!("Create Pod {name} in StatefulSet {of} failed error: {source}");
            ctx.warning(set, "FailedCreate", &note);
            Err(Error::Request { doing: "make a pod", source })
        }
    }
}

/// Makes the claims that a Pod mounts, where they are missing.
async fn claim_volumes(
    ctx: &Ctx,
    key: &Key,
    set: &StatefulSet,
    pod: &Pod,
    ordinal: i32,
) -> Result<(), Error> {
    let cache = ctx.cache::<PersistentVolumeClaim>();
    for claim in identity::claims(set, ordinal) {
        let name = claim.metadata.name.clone().unwrap_or_default();
        if cache.get(&key.namespace, &name).is_some() {
            continue;
        }
        match ctx.create(key, &claim).await {
            Err(error) if error.is_already_exists() => {}
            Err(source) => {
                let note = format!(
                    "Create Claim {name} Pod {} in StatefulSet {} failed error: {source}",
                    pods::name(pod),
                    key.name
                );
                ctx.warning(set, "FailedCreate", &note);
                return Err(Error::Request { doing: "make a claim", source });
            }
            Ok(_) => {
                let note = format!(
                    "Create Claim {name} Pod {} in StatefulSet {} success",
                    pods::name(pod),
                    key.name
                );
                ctx.normal(set, "SuccessfulCreate", &note);
            }
        }
    }
    Ok(())
}

/// Makes the claims of a Pod go with whom the retention policy says.
async fn own_claims(
    ctx: &Ctx,
    key: &Key,
    set: &StatefulSet,
    pod: &Pod,
    condemned: bool,
) -> Result<(), Error> {
    let Some((_, ordinal)) = identity::split(pods::name(pod)) else { return Ok(()) };
    let cache = ctx.cache::<PersistentVolumeClaim>();
    for claim in identity::claims(set, ordinal) {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let Some(there) = cache.get(&key.namespace, name) else { continue };
        let current = there.metadata.owner_references.clone().unwrap_or_default();
        let wanted = identity::claim_owners(set, pod, condemned, &current);
        if wanted == current {
            continue;
        }
        let mut claim = (*there).clone();
        claim.metadata.owner_references = Some(wanted);
        let sent = ctx.client.update(&claim).await;
        if let Some(written) = sent.gone_is_done("change whose a claim is")? {
            ctx.wrote(key, &written);
        }
    }
    Ok(())
}
