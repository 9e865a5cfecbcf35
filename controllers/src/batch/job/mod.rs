//! Jobs: Pods that run until so many have succeeded.
//!
//! *Counting exactly once*: every Pod of a Job carries a finalizer, so that it can't vanish
//! uncounted. A Pod that has ended is first noted by uid in the status (`uncountedTerminatedPods`),
//! then loses the finalizer, then is added to the counts and its uid dropped. Whoever continues
//! after a crash finds the uid noted and counts no Pod twice. *Indexed* Jobs count indexes, not
//! Pods: `completedIndexes` is the account there.
//!
//! The order at the end: the condition `SuccessCriteriaMet` or `FailureTarget` is set when the
//! outcome is known, and `Complete` or `Failed` when the last Pod has ended.

mod indexes;
mod plan;
mod pod;
mod policy;

use crate::{
    apps::in_terminating_namespace,
    claims,
    ctx::{Action, Ctx, Key, owned},
    error::{Doing, Error},
    manager::{Controller, Kind},
    owners, pods,
    selector::Selector,
    watch::Watch,
};
use client::Patch;
use futures::future::join_all;
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus},
    core::v1::Pod,
};
use plan::Plan;
use serde_json::json;
use std::sync::Arc;

/// Finalizer of Pods that have to be counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Value of `managedBy` that means us.
const US: &str = "kubernetes.io/job-controller";

/// The controller. A key without name stands for Pods of a namespace whose Job is gone.
pub(crate) const DEF: Controller = Controller {
    name: "job-controller",
    component: "job-controller",
    account: Some("job-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Pod>());
    watch.own::<Job>();
    watch.owned::<Pod>("Job");
    watch.maps::<Pod>(|ctx, pod| {
        if owners::controller(&pod.metadata).is_some() {
            return Vec::new();
        }
        let mut keys = adopters(ctx, pod);
        if is_tracked(pod) {
            keys.push(Key::new(pods::namespace(pod), ""));
        }
        keys
    });
}

/// The Jobs that may want a Pod that nobody controls.
fn adopters(ctx: &Ctx, pod: &Pod) -> Vec<Key> {
    let jobs = ctx.cache::<Job>().list_ns(pods::namespace(pod));
    let wants = |job: &&Arc<Job>| {
        let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        Selector::compile(selector).matches(pod.metadata.labels.as_ref())
    };
    jobs.iter().filter(wants).map(|job| Key::of(&**job)).collect()
}

/// Has to be counted.
pub(crate) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|one| one == TRACKING)
}

/// Whether a condition of the Job is true.
pub(crate) fn is(job: &Job, condition: &str) -> bool {
    let status = job.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|one| one.type_ == condition && one.status == "True")
}

/// Has ended, well or not.
pub(crate) fn is_finished(job: &Job) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(job) = ctx.cache::<Job>().get(&key.namespace, &key.name) else {
        return set_free(&ctx, &key).await;
    };
    let Some(spec) = &job.spec else { return Ok(Action::Done) };
    if spec.managed_by.as_deref().is_some_and(|manager| manager != US) {
        return Ok(Action::Done);
    }
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let selector = Selector::compile(spec.selector.as_ref());
    let candidates = owners::candidates(&ctx.cache::<Pod>(), &key.namespace, uid);
    let mine = claims::claim(&ctx, &key, &*job, &selector, candidates).await?;
    if is_finished(&job) {
        let tracked = mine.iter().filter(|pod| is_tracked(pod));
        strip(&ctx, &key, tracked).await?;
        return Ok(Action::Done);
    }
    track_adopted(&ctx, &key, &mine).await?;
    let plan = plan::plan(&job, &mine, ctx.now());
    let job = note(&ctx, &key, job, &plan).await?;
    strip(&ctx, &key, plan.strip.iter()).await?;
    let outcome = apply(&ctx, &key, &job, &plan).await;
    let made = outcome.as_ref().copied().unwrap_or(0);
    let status = plan.status(made);
    if job.status.as_ref() != Some(&status) {
        let mut job = owned(&job);
        job.status = Some(status);
        let written = ctx.update_status(&key, &job).await?;
        for (kind, reason, note) in &plan.events {
            ctx.tell(&written, *kind, reason, note);
        }
    }
    outcome.doing("make or remove the pods of a job")?;
    Ok(plan.next)
}

/// Pods that were adopted are counted like others.
async fn track_adopted(ctx: &Ctx, key: &Key, mine: &[Arc<Pod>]) -> Result<(), Error> {
    for pod in mine.iter().filter(|pod| pods::is_active(pod) && !is_tracked(pod)) {
        let body = json!({"metadata": {"uid": pod.metadata.uid, "finalizers": [TRACKING]}});
        ctx.patch::<Pod>(key, &Key::of(&**pod), Patch::Strategic(body)).await?;
    }
    Ok(())
}

/// Notes Pods that have ended in the status, before their finalizers go.
async fn note(ctx: &Ctx, key: &Key, job: Arc<Job>, plan: &Plan) -> Result<Arc<Job>, Error> {
    let Some(uncounted) = &plan.uncounted else { return Ok(job) };
    let mut new = owned(&job);
    let status: &mut JobStatus = new.status.get_or_insert_default();
    status.uncounted_terminated_pods = Some(uncounted.clone());
    if let Some(indexes) = &plan.completed_indexes {
        status.completed_indexes = (!indexes.is_empty()).then(|| indexes.clone());
    }
    if status.start_time.is_none() {
        status.start_time.clone_from(&plan.start_time);
    }
    Ok(Arc::new(ctx.update_status(key, &new).await?))
}

/// Takes the finalizer from Pods that are noted.
async fn strip(
    ctx: &Ctx,
    key: &Key,
    tracked: impl Iterator<Item = &Arc<Pod>>,
) -> Result<(), Error> {
    let sent = tracked.map(|pod| async move {
        let body = json!({"metadata": {
            "uid": pod.metadata.uid,
            "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
        ctx.patch::<Pod>(key, &Key::of(&**pod), Patch::Strategic(body)).await
    });
    for done in join_all(sent).await {
        match done {
            Err(error) if error.is_expected() => {}
            done => {
                done?;
            }
        }
    }
    Ok(())
}

/// Removes and makes Pods; tells how many were made.
async fn apply(ctx: &Ctx, key: &Key, job: &Job, plan: &Plan) -> Result<usize, client::Error> {
    let removed = plan.delete.iter().map(|pod| async move {
        if plan.strip_before_delete {
            // Removed on purpose: not a failure to count.
            let body = json!({"metadata": {"uid": pod.metadata.uid,
                "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
            let at = (pods::namespace(pod), pods::name(pod));
            match ctx.client.patch::<Pod>(at.0, at.1, Patch::Strategic(body)).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        ctx.delete(key, &**pod).await?;
        Ok(pod)
    });
    for done in join_all(removed).await {
        let note = format!("Deleted pod: {}", pods::name(done?));
        ctx.normal(job, "SuccessfulDelete", &note);
    }
    let mut made = 0;
    let mut rest = plan.create.as_slice();
    let mut size = 1;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        size *= 2;
        let sent = batch.iter().map(|slot| {
            let new = pod::make(job, *slot);
            async move { ctx.create(key, &new).await }
        });
        for done in join_all(sent).await {
            match done {
                Ok(pod) => {
                    made += 1;
                    let note = format!("Created pod: {}", pods::name(&pod));
                    ctx.normal(job, "SuccessfulCreate", &note);
                }
                Err(error) if in_terminating_namespace(&error) => return Ok(made),
                Err(error) => {
                    ctx.warning(job, "FailedCreate", &format!("Error creating: {error}"));
                    return Err(error);
                }
            }
        }
    }
    Ok(made)
}

/// Pods whose Job is gone need not be counted.
async fn set_free(ctx: &Ctx, key: &Key) -> Result<Action, Error> {
    let jobs = ctx.cache::<Job>();
    let all = ctx.cache::<Pod>().list_ns(&key.namespace);
    let free = |pod: &&Arc<Pod>| {
        let lost = match owners::controller(&pod.metadata) {
            None => true,
            Some(owner) if owner.kind != "Job" => false,
            Some(owner) => jobs
                .get(&key.namespace, &owner.name)
                .is_none_or(|job| job.metadata.uid.as_deref() != Some(owner.uid.as_str())),
        };
        is_tracked(pod) && lost
    };
    let lost: Vec<Arc<Pod>> = all.iter().filter(free).cloned().collect();
    if let Some(pod) = lost.first()
        && let Some(owner) = owners::controller(&pod.metadata)
    {
        // The cache of Jobs may lag behind that of Pods.
        let there = ctx.client.find::<Job>(&key.namespace, &owner.name).await;
        let there = there.doing("look at the job")?;
        if there.is_some_and(|job| job.metadata.uid.as_deref() == Some(owner.uid.as_str())) {
            return Ok(Action::After(std::time::Duration::from_millis(50)));
        }
    }
    strip(ctx, key, lost.iter()).await?;
    Ok(Action::Done)
}
