//! What controllers ask about Pods: ready, available, which goes first; and how Pods are made from
//! templates.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde_json::{Value, json};
use std::{cmp::Ordering, sync::Arc, time::Duration};

/// Annotation that tells how dear a Pod is when others must go.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The phase; empty when the status is.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Has ended, well or not.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Was told to go.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither ended nor told to go.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// The node it is bound to.
pub(crate) fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Its name.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Its namespace.
pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// A condition of its status.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let status = pod.status.as_ref()?;
    status.conditions.iter().flatten().find(|one| one.type_ == kind)
}

/// The Ready condition, if it is true.
fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    condition(pod, "Ready").filter(|one| one.status == "True")
}

/// A strategic merge patch of the status that sets one condition and keeps the order of the others:
/// a new one is last.
pub(crate) fn set_condition(pod: &Pod, condition: Value) -> serde_json::Map<String, Value> {
    let there = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let types = there.into_iter().flatten().map(|one| json!({"type": one.type_}));
    let mut order: Vec<Value> = types.collect();
    let this = json!({"type": condition["type"]});
    if !order.contains(&this) {
        order.push(this);
    }
    let mut patch = serde_json::Map::new();
    patch.insert("$setElementOrder/conditions".into(), order.into());
    patch.insert("conditions".into(), json!([condition]));
    patch
}

/// Serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some()
}

/// Since when it is ready.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    ready_condition(pod)?.last_transition_time.as_ref().map(|time| time.0)
}

/// Has been ready for so many seconds.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds == 0
            || ready_since(pod).is_some_and(|since| {
                now.duration_since(since).as_secs() >= i64::from(min_ready_seconds)
            }))
}

/// When the first of the ready Pods becomes available, if one is yet to.
pub(crate) fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Option<Duration> {
    let waits = pods.into_iter().filter_map(|pod| {
        if !is_ready(pod) || is_available(pod, min_ready_seconds, now) {
            return None;
        }
        let age = now.duration_since(ready_since(pod)?);
        let left = i64::from(min_ready_seconds) * 1000 - i64::try_from(age.as_millis()).ok()?;
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0) + 20))
    });
    waits.min()
}

/// Most restarts of any container.
fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|one| one.restart_count).max().unwrap_or(0)
}

/// How dear it is; 0 when not told.
fn cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(DELETION_COST));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// When it was created.
pub(crate) fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The order in which Pods are given up: the first goes first. `crowd` tells how many related Pods
/// share the node.
pub(crate) fn deletion_order(one: (&Pod, usize), two: (&Pod, usize), now: Timestamp) -> Ordering {
    let ((a, a_crowd), (b, b_crowd)) = (one, two);
    let assigned = |pod: &Pod| !node(pod).is_empty();
    let phase_rank = |pod: &Pod| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| b_crowd.cmp(&a_crowd))
        .then_with(|| younger_first(a, b, ready_since(a), ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger_first(a, b, created(a), created(b), now))
}

/// Younger first, where ages of the same magnitude (power of two) count as equal and the uid
/// decides.
fn younger_first(
    a: &Pod,
    b: &Pod,
    a_time: Option<Timestamp>,
    b_time: Option<Timestamp>,
    now: Timestamp,
) -> Ordering {
    if a_time == b_time {
        return Ordering::Equal;
    }
    let (Some(a_time), Some(b_time)) = (a_time, b_time) else {
        // A time that is missing counts as the youngest.
        return a_time.is_some().cmp(&b_time.is_some());
    };
    let magnitude = |time: Timestamp| {
        let age = now.duration_since(time).as_nanos();
        if age <= 0 { -1 } else { i64::from(age.ilog2()) }
    };
    magnitude(a_time).cmp(&magnitude(b_time)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// A Pod as a template asks for, with a name that the API server makes from the controller's.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    prefix: &str,
    owner: OwnerReference,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            namespace: Some(namespace.into()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn first<'a>(one: &'a Pod, two: &'a Pod) -> &'a str {
        let now = at("2026-11-25T00:00:00Z");
        match deletion_order((one, 1), (two, 1), now) {
            Ordering::Less => name(one),
            Ordering::Greater => name(two),
            Ordering::Equal => "equal",
        }
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let bound =
            |name: &str, status| pod(name, json!({"spec": {"nodeName": "n"}, "status": status}));
        let ready = |since: &str, restarts: i32| {
            json!({"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true,
                    "restartCount": restarts}]})
        };
        let calm = bound("calm", ready("2026-01-01T00:00:00Z", 1));
        let restless = bound("restless", ready("2026-01-01T00:00:00Z", 5));
        assert_eq!(first(&calm, &restless), "restless");
        let new = bound("new", ready("2026-11-20T00:00:00Z", 0));
        assert_eq!(first(&restless, &new), "new");
        let running = bound("running", json!({"phase": "Running"}));
        assert_eq!(first(&new, &running), "running");
        let pending = bound("pending", json!({"phase": "Pending"}));
        assert_eq!(first(&running, &pending), "pending");
        let unassigned = pod("unassigned", json!({"status": {"phase": "Pending"}}));
        assert_eq!(first(&pending, &unassigned), "unassigned");
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_long_enough() {
        let one = pod(
            "p",
            json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}),
        );
        assert!(is_available(&one, 10, at("2026-01-01T00:00:10Z")));
        assert!(!is_available(&one, 10, at("2026-01-01T00:00:09Z")));
        let next = next_available([&Arc::new(one)], 10, at("2026-01-01T00:00:09Z"));
        assert_eq!(next, Some(Duration::from_millis(1020)));
    }

    #[test]
    fn a_new_condition_is_last() {
        let one = pod(
            "p",
            json!({"status": {"conditions": [
            {"type": "PodScheduled", "status": "True"}]}}),
        );
        let patch = set_condition(&one, json!({"type": "DisruptionTarget", "status": "True"}));
        let order = json!([{"type": "PodScheduled"}, {"type": "DisruptionTarget"}]);
        assert_eq!(patch["$setElementOrder/conditions"], order);
        let again = set_condition(&one, json!({"type": "PodScheduled", "status": "False"}));
        assert_eq!(again["$setElementOrder/conditions"], json!([{"type": "PodScheduled"}]));
    }
}
