//! Removes Jobs some time after they have ended, where they say so.

use super::job;
use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use client::{DeleteOptions, Propagation};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use std::{sync::Arc, time::Duration};

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "ttl-after-finished-controller",
    component: "ttl-after-finished-controller",
    account: Some("ttl-after-finished-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.maps::<Job>(|_, job| {
        let concerned = expiry(job).is_some();
        concerned.then(|| Key::of(job)).into_iter().collect()
    });
}

/// When a Job is to go.
fn expiry(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if job.metadata.deletion_timestamp.is_some() || !job::is_finished(job) {
        return None;
    }
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    let mut ends = conditions.filter(|one| matches!(one.type_.as_str(), "Complete" | "Failed"));
    let end = ends.next()?.last_transition_time.as_ref()?.0;
    Some(end + SignedDuration::from_secs(i64::from(seconds)))
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(job) = ctx.cache::<Job>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let Some(at) = expiry(&job) else { return Ok(Action::Done) };
    let left = Duration::try_from(at.duration_since(ctx.now())).unwrap_or(Duration::ZERO);
    if !left.is_zero() {
        return Ok(Action::After(left));
    }
    // The cache may be old, and the time to live may have been raised meanwhile.
    let fresh = ctx.client.find::<Job>(&key.namespace, &key.name).await.doing("read")?;
    let Some(fresh) = fresh.filter(|one| one.metadata.uid == job.metadata.uid) else {
        return Ok(Action::Done);
    };
    if expiry(&fresh).is_some_and(|at| at <= ctx.now()) {
        let options = DeleteOptions {
            propagation_policy: Some(Propagation::Foreground),
            resource_version: fresh.metadata.resource_version.clone(),
            ..DeleteOptions::default()
        };
        ctx.delete_with(&key, &fresh, options).await.doing("remove a job that ended")?;
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn only_jobs_that_ended_and_say_so_expire() {
        let job = |ttl, status| -> Job {
            object(json!({"spec": {"template": {}, "ttlSecondsAfterFinished": ttl},
                "status": {"conditions": [{"type": "Complete", "status": status,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
        };
        let at = "2026-01-01T00:01:00Z".parse().expect("a time");
        assert_eq!(expiry(&job(json!(60), "True")), Some(at));
        assert_eq!(expiry(&job(json!(60), "False")), None);
        assert_eq!(expiry(&job(json!(null), "True")), None);
    }
}
