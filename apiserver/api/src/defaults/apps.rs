//! Workloads of the group apps.

use serde_json::{Value, json};

use super::{
    edit::{child, items, made, put, put_zero, text},
    pod, volume,
};

/// Old revisions that a workload keeps.
const HISTORY: i64 = 10;

/// A Deployment.
pub(super) fn deployment(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "replicas", 1);
    if let Some(strategy) = made(spec, "strategy") {
        put_zero(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = made(strategy, "rollingUpdate")
        {
            put(rolling, "maxUnavailable", "25%");
            put(rolling, "maxSurge", "25%");
        }
    }
    put(spec, "revisionHistoryLimit", HISTORY);
    put(spec, "progressDeadlineSeconds", 600);
    pod::template_at(spec, "template");
}

/// A ReplicaSet.
pub(super) fn replica_set(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "replicas", 1);
    pod::template_at(spec, "template");
}

/// A DaemonSet. The annotation stands for a field of old, which had a number from the first.
pub(super) fn daemon_set(object: &mut Value) {
    if let Some(annotations) = made(object, "metadata").and_then(|m| made(m, "annotations")) {
        put(annotations, "deprecated.daemonset.template.generation", "0");
    }
    let Some(spec) = child(object, "spec") else { return };
    if let Some(strategy) = made(spec, "updateStrategy") {
        put_zero(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = made(strategy, "rollingUpdate")
        {
            put(rolling, "maxUnavailable", 1);
            put(rolling, "maxSurge", 0);
        }
    }
    // Its numbers are no pointers inside, so that both show whenever there is one.
    let rolling = child(spec, "updateStrategy").and_then(|s| child(s, "rollingUpdate"));
    if let Some(rolling) = rolling {
        put(rolling, "maxUnavailable", 0);
        put(rolling, "maxSurge", 0);
    }
    put(spec, "revisionHistoryLimit", HISTORY);
    pod::template_at(spec, "template");
}

/// A StatefulSet.
pub(super) fn stateful_set(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    put_zero(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = made(spec, "updateStrategy") {
        put_zero(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = made(strategy, "rollingUpdate")
        {
            put(rolling, "partition", 0);
            put(rolling, "maxUnavailable", 1);
        }
    }
    put(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        put_zero(policy, "whenDeleted", "Retain");
        put_zero(policy, "whenScaled", "Retain");
    }
    put(spec, "replicas", 1);
    put(spec, "revisionHistoryLimit", HISTORY);
    for claim in items(spec, "volumeClaimTemplates") {
        put_zero(claim, "apiVersion", "v1");
        put_zero(claim, "kind", "PersistentVolumeClaim");
        volume::claim(claim);
    }
    pod::template_at(spec, "template");
}
