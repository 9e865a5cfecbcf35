//! ReplicationControllers: the ancestor of ReplicaSets, with a plain map of labels as selector.

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
    api::core::v1::{
        Pod, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::sync::Arc;

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "replicationcontroller-controller",
    component: "replication-controller",
    account: Some("replication-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Pod>());
    watch.own::<ReplicationController>();
    watch.owned::<Pod>("ReplicationController");
    watch.maps::<Pod>(adopters);
}

/// The controllers that may want a Pod that nobody controls.
fn adopters(ctx: &Ctx, pod: &Pod) -> Vec<Key> {
    replicas::adopters(ctx, pod, |rc: &ReplicationController| {
        let labels = rc.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        labels.is_some() && Selector::equal(labels).matches(pod.metadata.labels.as_ref())
    })
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(rc) = ctx.cache::<ReplicationController>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let Some(spec) = &rc.spec else { return Ok(Action::Done) };
    let uid = rc.metadata.uid.as_deref().unwrap_or_default();
    let selector = Selector::equal(spec.selector.as_ref());
    if selector.is_everything() {
        return Ok(Action::Done);
    }
    let candidates = replicas::candidates(&ctx, &key.namespace, uid);
    let active = claims::claim(&ctx, &key, &*rc, &selector, candidates).await?;
    let template = spec.template.clone().unwrap_or_default();
    let wanted = Wanted {
        replicas: spec.replicas.unwrap_or(1),
        template: &template,
        min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
    };
    let kept = replicas::keep(&ctx, &key, &*rc, &wanted, (&active, &active)).await;
    let status = status(&rc, kept.counts, kept.reason(), ctx.now());
    if rc.status.as_ref() != Some(&status) {
        let mut rc = owned(&rc);
        rc.status = Some(status);
        ctx.update_status(&key, &rc).await?;
    }
    kept.outcome()
}

/// The status to show.
fn status(
    rc: &ReplicationController,
    counts: replicas::Counts,
    failure: Option<(&'static str, String)>,
    now: Timestamp,
) -> ReplicationControllerStatus {
    let before = rc.status.as_ref().and_then(|status| status.conditions.clone());
    let make = |reason: &str, message| ReplicationControllerCondition {
        type_: "ReplicaFailure".into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    };
    let is = |one: &ReplicationControllerCondition| one.type_ == "ReplicaFailure";
    ReplicationControllerStatus {
        replicas: counts.replicas,
        fully_labeled_replicas: nonzero(counts.fully_labeled),
        ready_replicas: nonzero(counts.ready),
        available_replicas: nonzero(counts.available),
        observed_generation: rc.metadata.generation,
        conditions: replicas::conditions(before, failure, is, make),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn zeros_are_left_out_of_the_status() {
        let rc: ReplicationController = object(json!({"metadata": {"generation": 1}, "spec": {}}));
        let shown = status(&rc, replicas::Counts::default(), None, Timestamp::UNIX_EPOCH);
        let shown = serde_json::to_value(shown).expect("json");
        assert_eq!(shown, json!({"replicas": 0, "observedGeneration": 1}));
    }
}
