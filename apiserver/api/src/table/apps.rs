//! Kinds that keep Pods running.

use serde_json::Value;

use super::row::{NONE, Row, plain, text};

/// Cells of a Deployment.
pub(super) fn deployment(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = row.containers("/spec/template/spec");
    vec![
        row.name(),
        ready(row).into(),
        row.int("/status/updatedReplicas").into(),
        row.int("/status/availableReplicas").into(),
        row.age(),
        names,
        images,
        row.selector("/spec/selector").into(),
    ]
}

/// Cells of a StatefulSet.
pub(super) fn stateful_set(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = row.containers("/spec/template/spec");
    vec![row.name(), ready(row).into(), row.age(), names, images]
}

fn ready(row: &Row<'_>) -> String {
    format!("{}/{}", row.int("/status/readyReplicas"), row.int("/spec/replicas"))
}

/// Cells of a ReplicaSet.
pub(super) fn replica_set(row: &Row<'_>) -> Vec<Value> {
    replicas(row, row.selector_or_none("/spec/selector"))
}

/// Cells of a ReplicationController.
pub(super) fn replication_controller(row: &Row<'_>) -> Vec<Value> {
    replicas(row, row.labels("/spec/selector"))
}

fn replicas(row: &Row<'_>, selector: String) -> Vec<Value> {
    let [names, images] = row.containers("/spec/template/spec");
    vec![
        row.name(),
        row.int("/spec/replicas").into(),
        row.int("/status/replicas").into(),
        row.int("/status/readyReplicas").into(),
        row.age(),
        names,
        images,
        selector.into(),
    ]
}

/// Cells of a DaemonSet.
pub(super) fn daemon_set(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = row.containers("/spec/template/spec");
    vec![
        row.name(),
        row.int("/status/desiredNumberScheduled").into(),
        row.int("/status/currentNumberScheduled").into(),
        row.int("/status/numberReady").into(),
        row.int("/status/updatedNumberScheduled").into(),
        row.int("/status/numberAvailable").into(),
        row.labels("/spec/template/spec/nodeSelector").into(),
        row.age(),
        names,
        images,
        row.selector_or_none("/spec/selector").into(),
    ]
}

/// Cells of a ControllerRevision.
pub(super) fn controller_revision(row: &Row<'_>) -> Vec<Value> {
    let mut owners = row.list("/metadata/ownerReferences").iter();
    let owner = owners.find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    let owner = owner.map_or_else(
        || NONE.to_owned(),
        |owner| {
            let group = text(owner, "/apiVersion").split_once('/').map(|(group, _)| group);
            let group = group.map(|group| format!(".{group}")).unwrap_or_default();
            format!("{}{group}/{}", text(owner, "/kind").to_lowercase(), text(owner, "/name"))
        },
    );
    vec![row.name(), owner.into(), row.int("/revision").into(), row.age()]
}

/// Cells of a PodDisruptionBudget.
pub(super) fn disruption_budget(row: &Row<'_>) -> Vec<Value> {
    let amount = |key: &str| {
        let value = row.get(&format!("/spec/{key}"));
        Value::from(value.map_or_else(|| "N/A".to_owned(), plain))
    };
    vec![
        row.name(),
        amount("minAvailable"),
        amount("maxUnavailable"),
        row.int("/status/disruptionsAllowed").into(),
        row.age(),
    ]
}
