//! Disruption budgets: how many Pods may be disturbed at once, kept up to date for the eviction of
//! Pods.
//!
//! *Expected* Pods are those that the controllers of the selected Pods should have, where the
//! budget is a percentage or a maximum of missing Pods; otherwise those that are there. A Pod that
//! the API server has evicted counts as gone for two minutes, until its deletion shows.

use crate::{
    ctx::{Action, Ctx, Key, owned},
    error::Error,
    intstr::{self, Round},
    manager::{Controller, Kind},
    owners, pods,
    selector::Selector,
    watch::Watch,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        core::v1::{Pod, ReplicationController},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, OwnerReference, Time},
        util::intstr::IntOrString,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// How long an evicted Pod counts as gone before its deletion shows.
const EVICTED: Duration = Duration::from_secs(120);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "disruption-controller",
    component: "controllermanager",
    account: Some("disruption-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Pod>());
    owners::index(&watch.reads::<ReplicaSet>());
    watch.own::<PodDisruptionBudget>();
    watch.changes::<Pod>(|ctx, old, new| {
        let Some(any) = new.or(old) else { return Vec::new() };
        if let (Some(old), Some(new)) = (old, new)
            && pods::is_ready(old) == pods::is_ready(new)
            && pods::phase(old) == pods::phase(new)
            && old.metadata.labels == new.metadata.labels
            && pods::is_terminating(old) == pods::is_terminating(new)
        {
            return Vec::new();
        }
        let all = ctx.cache::<PodDisruptionBudget>().list_ns(pods::namespace(any));
        let selects = |budget: &&Arc<PodDisruptionBudget>| {
            let selector = selector(budget);
            let matches = |pod: &Pod| selector.matches(pod.metadata.labels.as_ref());
            old.is_some_and(matches) || new.is_some_and(matches)
        };
        all.iter().filter(selects).map(|budget| Key::of(&**budget)).collect()
    });
    // A changed size changes how many Pods are expected.
    watch.maps::<ReplicaSet>(|ctx, set| of_namespace(ctx, set.metadata.namespace.as_deref()));
    watch.maps::<Deployment>(|ctx, one| of_namespace(ctx, one.metadata.namespace.as_deref()));
    watch.maps::<StatefulSet>(|ctx, set| of_namespace(ctx, set.metadata.namespace.as_deref()));
    watch.maps::<ReplicationController>(|ctx, rc| {
        of_namespace(ctx, rc.metadata.namespace.as_deref())
    });
}

fn of_namespace(ctx: &Ctx, namespace: Option<&str>) -> Vec<Key> {
    let all = ctx.cache::<PodDisruptionBudget>().list_ns(namespace.unwrap_or_default());
    all.iter().map(|budget| Key::of(&**budget)).collect()
}

fn selector(budget: &PodDisruptionBudget) -> Selector {
    Selector::compile(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(budget) = ctx.cache::<PodDisruptionBudget>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let Some(spec) = &budget.spec else { return Ok(Action::Done) };
    let selector = selector(&budget);
    let mut all = ctx.cache::<Pod>().list_ns(&key.namespace);
    all.retain(|pod| selector.matches(pod.metadata.labels.as_ref()));
    if all.is_empty() {
        ctx.normal(&*budget, "NoPods", "No matching pods found");
    }
    let scales = scales(&ctx, &key.namespace, &all);
    let now = ctx.now();
    let (status, next) = match plan(&budget, spec, &all, &scales, now) {
        Ok(planned) => planned,
        Err(why) => {
            ctx.warning(&*budget, "CalculateExpectedPodCountFailed", &why);
            (failed(&budget, &why, now), Action::Done)
        }
    };
    let unmanaged = all.iter().any(|pod| owners::controller(&pod.metadata).is_none());
    if unmanaged && by_controllers(spec) {
        let note = "Pods selected by this PodDisruptionBudget (selector: unmanaged) have no \
                    controller and are not counted as expected";
        ctx.warning(&*budget, "UnmanagedPods", note);
    }
    if budget.status.as_ref() != Some(&status) {
        let mut budget = owned(&budget);
        budget.status = Some(status);
        ctx.update_status(&key, &budget).await?;
    }
    Ok(next)
}

/// The size of each controller of Pods, by uid; absent when it has none.
type Scales = HashMap<String, Option<(String, i32)>>;

/// Finds the controllers of Pods, through ReplicaSets up to Deployments, and their sizes.
fn scales(ctx: &Ctx, namespace: &str, all: &[Arc<Pod>]) -> Scales {
    let owners = all.iter().filter_map(|pod| owners::controller(&pod.metadata));
    owners.map(|owner| (owner.uid.clone(), scale(ctx, namespace, owner))).collect()
}

fn scale(ctx: &Ctx, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
    let uid = owner.uid.clone();
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let set = ctx.cache::<ReplicaSet>().get(namespace, &owner.name)?;
            let above = owners::controller(&set.metadata).filter(|one| one.kind == "Deployment");
            if let Some(above) = above {
                let one = ctx.cache::<Deployment>().get(namespace, &above.name)?;
                return Some((above.uid.clone(), one.spec.replicas.unwrap_or(1)));
            }
            Some((uid, set.spec.replicas.unwrap_or(1)))
        }
        "ReplicationController" => {
            let rc = ctx.cache::<ReplicationController>().get(namespace, &owner.name)?;
            Some((uid, rc.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)))
        }
        "StatefulSet" => {
            let set = ctx.cache::<StatefulSet>().get(namespace, &owner.name)?;
            Some((uid, set.spec.replicas.unwrap_or(1)))
        }
        _ => None,
    }
}

/// Whether the budget is measured against what controllers want.
fn by_controllers(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The status, and when to look again; or why it can't be told.
fn plan(
    budget: &PodDisruptionBudget,
    spec: &PodDisruptionBudgetSpec,
    all: &[Arc<Pod>],
    scales: &Scales,
    now: Timestamp,
) -> Result<(PodDisruptionBudgetStatus, Action), String> {
    let expected = if by_controllers(spec) {
        expected(all, scales)?
    } else {
        i32::try_from(all.len()).unwrap_or(i32::MAX)
    };
    let desired = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (expected - intstr::scaled(most, expected, Round::Up)).max(0),
        (None, Some(least)) => intstr::scaled(least, expected, Round::Up),
        (None, None) => 0,
    };
    let (disrupted, next) = still_disrupted(budget, all, now);
    let healthy = all.iter().filter(|pod| {
        let name = pods::name(pod);
        pods::is_ready(pod) && !pods::is_terminating(pod) && !disrupted.contains_key(name)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let (state, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        expected_pods: Some(expected),
        desired_healthy: Some(desired),
        current_healthy: Some(healthy),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        conditions: Some(conditions(budget, state, reason, "", now)),
    };
    Ok((status, next))
}

fn expected(all: &[Arc<Pod>], scales: &Scales) -> Result<i32, String> {
    let mut sizes: HashMap<&str, i32> = HashMap::new();
    for pod in all {
        let Some(owner) = owners::controller(&pod.metadata) else { continue };
        match scales.get(&owner.uid) {
            Some(Some((uid, size))) => {
                sizes.insert(uid, *size);
            }
            _ => {
                let (kind, name) = (&owner.kind, &owner.name);
                return Err(format!("{kind} {name} does not implement the scale subresource"));
            }
        }
    }
    Ok(sizes.values().sum())
}

/// Evicted Pods that still look alive.
fn still_disrupted(
    budget: &PodDisruptionBudget,
    all: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Action) {
    let noted = budget.status.as_ref().and_then(|status| status.disrupted_pods.clone());
    let mut next = Action::Done;
    let mut still = BTreeMap::new();
    for (name, since) in noted.into_iter().flatten() {
        let alive = all.iter().any(|pod| pods::name(pod) == name && !pods::is_terminating(pod));
        let age = now.duration_since(since.0);
        let limit = SignedDuration::try_from(EVICTED).unwrap_or(SignedDuration::ZERO);
        if alive && age < limit {
            let left = Duration::try_from(limit - age).unwrap_or(Duration::ZERO);
            next = next.sooner(Action::After(left));
            still.insert(name, since);
        }
    }
    (still, next)
}

fn conditions(
    budget: &PodDisruptionBudget,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let old = budget.status.as_ref().and_then(|status| status.conditions.clone());
    let mut all = old.unwrap_or_default();
    let new = Condition {
        type_: "DisruptionAllowed".into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: budget.metadata.generation,
        last_transition_time: Time(now),
    };
    match all.iter_mut().find(|one| one.type_ == new.type_) {
        Some(old) => {
            let since = old.last_transition_time.clone();
            let same = old.status == new.status;
            *old = new;
            if same {
                old.last_transition_time = since;
            }
        }
        None => all.push(new),
    }
    all
}

/// The status when the number of expected Pods can't be told: nothing may be disturbed.
fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.observed_generation = budget.metadata.generation;
    status.disruptions_allowed = Some(0);
    status.current_healthy = Some(status.current_healthy.unwrap_or(0));
    status.desired_healthy = Some(status.desired_healthy.unwrap_or(0));
    status.expected_pods = Some(status.expected_pods.unwrap_or(0));
    status.conditions = Some(conditions(budget, "False", "SyncFailed", why, now));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};
    use serde_json::{Value, json};

    fn allowed(spec: Value, all: &[Arc<Pod>], size: Option<i32>) -> Result<(i32, i32), String> {
        let budget: PodDisruptionBudget = object(json!({"metadata": {}, "spec": spec}));
        let spec = budget.spec.clone().expect("spec");
        let scales: Scales = [("r".to_owned(), size.map(|size| ("r".to_owned(), size)))].into();
        let (status, _) = plan(&budget, &spec, all, &scales, Timestamp::UNIX_EPOCH)?;
        Ok((status.desired_healthy.expect("some"), status.disruptions_allowed.expect("some")))
    }

    fn some(count: usize) -> Vec<Arc<Pod>> {
        let one = |number| {
            Arc::new(pod(
                &format!("p{number}"),
                json!({"metadata": {"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r",
                    "controller": true}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
            ))
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn budgets_count_what_is_there_or_what_should_be() {
        assert_eq!(allowed(json!({"minAvailable": 1}), &some(2), None), Ok((1, 1)));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &some(3), Some(3)), Ok((2, 1)));
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &some(3), Some(5)), Ok((4, 0)));
        assert_eq!(allowed(json!({"minAvailable": "50%"}), &some(3), Some(3)), Ok((2, 1)));
        assert_eq!(allowed(json!({"minAvailable": 0}), &[], None), Ok((0, 0)));
        assert!(allowed(json!({"maxUnavailable": 1}), &some(1), None).is_err());
    }
}
