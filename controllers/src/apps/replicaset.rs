//! ReplicaSets: a number of equal Pods, mostly on behalf of a Deployment.

use super::replicas::{self, Wanted, nonzero};
use crate::{
    claims,
    ctx::{Action, Ctx, Key, owned},
    error::Error,
    manager::{Controller, Kind},
    owners,
    selector::Selector,
    watch::Watch,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::sync::Arc;

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "replicaset-controller",
    component: "replicaset-controller",
    account: Some("replicaset-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Pod>());
    owners::index(&watch.reads::<ReplicaSet>());
    watch.own::<ReplicaSet>();
    watch.owned::<Pod>("ReplicaSet");
    watch.maps::<Pod>(adopters);
}

/// The ReplicaSets that may want a Pod that nobody controls.
fn adopters(ctx: &Ctx, pod: &Pod) -> Vec<Key> {
    replicas::adopters(ctx, pod, |set: &ReplicaSet| {
        Selector::compile(Some(&set.spec.selector)).matches(pod.metadata.labels.as_ref())
    })
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(set) = ctx.cache::<ReplicaSet>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let spec = &set.spec;
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let selector = Selector::compile(Some(&spec.selector));
    let candidates = replicas::candidates(&ctx, &key.namespace, uid);
    let active = claims::claim(&ctx, &key, &*set, &selector, candidates).await?;
    let template = spec.template.clone().unwrap_or_default();
    let wanted = Wanted {
        replicas: spec.replicas.unwrap_or(1),
        template: &template,
        min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
    };
    let related = related(&ctx, &set);
    let kept = replicas::keep(&ctx, &key, &*set, &wanted, (&active, &related)).await;
    let terminating = replicas::terminating(&ctx, uid);
    let status = status(&set, kept.counts, terminating, kept.reason(), ctx.now());
    if set.status.as_ref() != Some(&status) {
        let mut set = owned(&set);
        set.status = Some(status);
        ctx.update_status(&key, &set).await?;
    }
    kept.outcome()
}

/// The Pods of all ReplicaSets of the same Deployment; none for a ReplicaSet of its own.
fn related(ctx: &Ctx, set: &ReplicaSet) -> Vec<Arc<Pod>> {
    let Some(owner) = owners::controller(&set.metadata) else { return Vec::new() };
    let siblings = owners::owned(&ctx.cache::<ReplicaSet>(), &owner.uid);
    let pods = ctx.cache::<Pod>();
    let of = |set: &Arc<ReplicaSet>| {
        owners::owned(&pods, set.metadata.uid.as_deref().unwrap_or_default())
    };
    siblings.iter().flat_map(of).collect()
}

/// The status to show.
fn status(
    set: &ReplicaSet,
    counts: replicas::Counts,
    terminating: i32,
    failure: Option<(&'static str, String)>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let before = set.status.as_ref().and_then(|status| status.conditions.clone());
    let is = |one: &ReplicaSetCondition| one.type_.as_deref() == Some("ReplicaFailure");
    let make = |reason: &str, message| ReplicaSetCondition {
        type_: Some("ReplicaFailure".into()),
        status: Some("True".into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    };
    ReplicaSetStatus {
        replicas: counts.replicas,
        fully_labeled_replicas: nonzero(counts.fully_labeled),
        ready_replicas: nonzero(counts.ready),
        available_replicas: nonzero(counts.available),
        terminating_replicas: Some(terminating),
        observed_generation: set.metadata.generation,
        conditions: replicas::conditions(before, failure, is, make),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn a_failure_shows_as_condition_until_it_is_over() {
        let mut set: ReplicaSet = object(json!({"metadata": {"generation": 2},
            "spec": {"selector": {}}}));
        let now = Timestamp::UNIX_EPOCH;
        let counts = replicas::Counts { replicas: 1, ..replicas::Counts::default() };
        let failed = status(&set, counts, 0, Some(("FailedCreate", "quota".into())), now);
        let conditions = failed.conditions.clone().expect("a condition");
        assert_eq!(conditions[0].reason.as_deref(), Some("FailedCreate"));
        assert_eq!(failed.terminating_replicas, Some(0));
        assert_eq!(failed.ready_replicas, None);
        set.status = Some(failed.clone());
        let again = status(&set, counts, 0, Some(("FailedCreate", "other".into())), now);
        assert_eq!(again, failed);
        assert_eq!(status(&set, counts, 0, None, now).conditions, None);
    }
}
