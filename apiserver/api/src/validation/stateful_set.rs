//! StatefulSets: most of their spec stays, and their pods have the claims' volumes.

use serde_json::Value;

use super::{
    apps::{
        amount, collisions, counts, go_rolling, int_or_percent, not_above, not_above_all, template,
    },
    check::{Errors, Path, get, int, list, text},
    metadata, selectors,
};

/// What of a spec has an error of its own when it changes.
const FIXED: [&str; 2] = ["serviceName", "podManagementPolicy"];

/// A new StatefulSet.
pub(super) fn stateful_set(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let policy = text(spec, "podManagementPolicy");
    match policy {
        "" => errors.required(&path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            errors.invalid(&path.child("podManagementPolicy"), other, why);
        }
    }
    stateful_strategy(get(spec, "updateStrategy"), &path.child("updateStrategy"), errors);
    retention(get(spec, "persistentVolumeClaimRetentionPolicy"), &path, errors);
    errors.not_negative(&path.child("replicas"), int(spec, "replicas"));
    errors.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    let ordinals = path.child("ordinals");
    errors.not_negative(&ordinals.child("start"), int(get(spec, "ordinals"), "start"));
    let service = text(spec, "serviceName");
    if !service.is_empty() {
        errors.complaints(&path.child("serviceName"), service, crate::meta::dns1123_label(service));
    }
    selectors::workload(spec, &path, "statefulset", errors);
    claim_templates(spec, &path, errors);
    template(&with_claims(spec), &path, "StatefulSet", errors);
}

/// The spec with a volume in its template for each claim: the pods will have them.
fn with_claims(spec: &Value) -> Value {
    let mut out = spec.clone();
    let names = list(spec, "volumeClaimTemplates").iter().map(|c| text(get(c, "metadata"), "name"));
    let own = spec.pointer("/template/spec/volumes").and_then(Value::as_array);
    let taken = |name: &str| own.into_iter().flatten().any(|v| text(v, "name") == name);
    let extra: Vec<Value> = names
        .filter(|name| !name.is_empty() && !taken(name))
        .map(|name| serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    let pod = out.pointer_mut("/template/spec").and_then(Value::as_object_mut);
    if let Some(pod) = pod.filter(|_| !extra.is_empty()) {
        let volumes = pod.entry("volumes").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.extend(extra);
        }
    }
    out
}

fn stateful_strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rolling = get(strategy, "rollingUpdate");
    let under = path.child("rollingUpdate");
    let fields = [("Partition", "partition"), ("MaxUnavailable", "maxUnavailable")];
    match text(strategy, "type") {
        "" => errors.required(path, ""),
        "OnDelete" => {
            if !rolling.is_null() {
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                errors.invalid_raw(&under, go_rolling(rolling, &fields), why);
            }
        }
        "RollingUpdate" => {
            errors.not_negative(&under.child("partition"), int(rolling, "partition"));
            let most = get(rolling, "maxUnavailable");
            let at = under.child("maxUnavailable");
            if !most.is_null() {
                int_or_percent(most, &at, errors);
                if amount(most) == 0 {
                    errors.invalid(&at, most.clone(), "cannot be 0");
                }
                not_above_all(most, &at, errors);
            }
        }
        other => {
            let shown = format!(
                "{{\"Type\":{},\"RollingUpdate\":{}}}",
                Value::from(other),
                go_rolling(rolling, &fields)
            );
            errors.invalid_raw(path, shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn retention(policy: &Value, path: &Path<'_>, errors: &mut Errors) {
    if policy.is_null() {
        return;
    }
    let path = path.child("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        errors.one_of(&path.child(key), text(policy, key), &["Retain", "Delete"]);
    }
}

fn claim_templates(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("volumeClaimTemplates");
    for (at, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        let path = path.index(at);
        super::core::volume_claim::spec(get(claim, "spec"), &path.child("spec"), errors);
    }
}

/// A changed StatefulSet: of its spec, only what scales, replaces or keeps pods may change.
pub(super) fn stateful_set_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    if now != before {
        stateful_set(new, errors);
        let fixed = |spec: &Value| {
            let mut copy = spec.clone();
            for key in FIXED.into_iter().chain([
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ]) {
                if let Some(map) = copy.as_object_mut() {
                    map.remove(key);
                }
            }
            copy
        };
        for key in FIXED {
            if text(now, key) != text(before, key) {
                let why = "field is immutable";
                errors.invalid(&Path::new("spec").child(key), text(now, key), why);
            }
        }
        if fixed(now) != fixed(before) {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                       'template', 'updateStrategy', 'revisionHistoryLimit', \
                       'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.forbidden(&Path::new("spec"), why);
        }
    }
    stateful_status(new, old, errors);
}

fn stateful_status(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    if now == before {
        return;
    }
    let path = Path::new("status");
    let keys = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    counts(now, &keys, &path, errors);
    let whole = int(now, "replicas").unwrap_or(0);
    for key in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
        not_above(now, key, whole, "cannot be greater than status.replicas", &path, errors);
    }
    let ready = int(now, "readyReplicas").unwrap_or(0);
    let why = "cannot be greater than status.readyReplicas";
    not_above(now, "availableReplicas", ready, why, &path, errors);
    collisions(now, before, &path, errors);
}

/// The name of a StatefulSet is part of its pods' host names.
pub(super) fn stateful_name(name: &str, prefix: bool) -> Vec<String> {
    metadata::label(name, prefix)
}
