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
    if owners::controller(&pod.metadata).is_some() {
        return Vec::new();
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let wants = |rc: &Arc<ReplicationController>| {
        let labels = rc.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        labels.is_some() && Selector::equal(labels).matches(pod.metadata.labels.as_ref())
    };
    let all = ctx.cache::<ReplicationController>().list_ns(namespace);
    all.iter().filter(|rc| wants(rc)).map(|rc| Key::of(&**rc)).collect()
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
    let wanted = Wanted { replicas: spec.replicas.unwrap_or(1), template: &template };
    let now = ctx.now();
    let mut failure = None;
    if rc.metadata.deletion_timestamp.is_none()
        && let Some(change) = replicas::plan(wanted.replicas, &active, &active, now)
    {
        failure = replicas::apply(&ctx, &key, &*rc, &wanted, change).await.err();
    }
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let counts = replicas::count(&active, &template, min_ready, now);
    let reason = failure.as_ref().map(|(reason, error)| (*reason, error.to_string()));
    let status = status(&rc, counts, reason, now);
    if rc.status.as_ref() != Some(&status) {
        let mut rc = owned(&rc);
        rc.status = Some(status);
        ctx.update_status(&key, &rc).await?;
    }
    replicas::outcome(failure, replicas::next_look(&active, min_ready, now))
}

/// The status to show.
fn status(
    rc: &ReplicationController,
    counts: replicas::Counts,
    failure: Option<(&'static str, String)>,
    now: Timestamp,
) -> ReplicationControllerStatus {
    let before = rc.status.clone().unwrap_or_default();
    let mut conditions = before.conditions.unwrap_or_default();
    let failed = conditions.iter().any(|one| one.type_ == "ReplicaFailure");
    match failure {
        None => conditions.retain(|one| one.type_ != "ReplicaFailure"),
        Some((reason, message)) if !failed => conditions.push(ReplicationControllerCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
    }
    ReplicationControllerStatus {
        replicas: counts.replicas,
        fully_labeled_replicas: nonzero(counts.fully_labeled),
        ready_replicas: nonzero(counts.ready),
        available_replicas: nonzero(counts.available),
        observed_generation: rc.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
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
