//! Workloads of the group apps: selectors that match, templates that can run, numbers that make
//! sense.

use serde_json::Value;

use super::{
    check::{Errors, Path, at, get, has, int, list, text},
    core::pod,
    metadata, selectors,
};

/// A number or a percentage.
pub(super) fn int_or_percent(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let why = "a valid percent string must be a numeric string followed by an ending \
                           '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.invalid(path, text.as_str(), why);
            }
        }
        other => errors.not_negative(path, other.as_i64()),
    }
}

/// A percentage may not be above all.
pub(super) fn not_above_all(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')).and_then(|t| t.parse().ok());
    if percent.is_some_and(|percent: u64| percent > 100) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// A number or percentage as a number; percentages count by their number.
fn amount(value: &Value) -> i64 {
    let percent = value.as_str().and_then(|t| t.strip_suffix('%')).and_then(|t| t.parse().ok());
    percent.or(value.as_i64()).unwrap_or(0)
}

/// A template whose pods run for as long as the workload lives.
pub(super) fn long_running(template: &Value, path: &Path<'_>, noun: &str, errors: &mut Errors) {
    let spec = get(template, "spec");
    let path = path.child("spec");
    let policy = text(spec, "restartPolicy");
    if policy != "Always" && !policy.is_empty() {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if has(spec, "activeDeadlineSeconds") {
        let why = format!("activeDeadlineSeconds in {noun} is not Supported");
        errors.forbidden(&path.child("activeDeadlineSeconds"), &why);
    }
}

/// A new Deployment.
pub(super) fn deployment(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    errors.not_negative(&path.child("replicas"), int(spec, "replicas"));
    selectors::workload(spec, &path, "deployment", errors);
    template(spec, &path, "ReplicaSet", errors);
    strategy(get(spec, "strategy"), &path.child("strategy"), errors);
    let ready = int(spec, "minReadySeconds");
    errors.not_negative(&path.child("minReadySeconds"), ready);
    errors.not_negative(&path.child("revisionHistoryLimit"), int(spec, "revisionHistoryLimit"));
    if let Some(deadline) = int(spec, "progressDeadlineSeconds") {
        let at = path.child("progressDeadlineSeconds");
        errors.not_negative(&at, Some(deadline));
        if deadline <= ready.unwrap_or(0) {
            errors.invalid(&at, deadline, "must be greater than minReadySeconds");
        }
    }
}

fn template(spec: &Value, path: &Path<'_>, noun: &str, errors: &mut Errors) {
    let template = get(spec, "template");
    let under = path.child("template");
    if crate::selector::Labels::from_selector(get(spec, "selector")).is_err() {
        let shown = selectors::shown_selector(get(spec, "selector"));
        errors.invalid_raw(&path.child("selector"), shown, "invalid label selector");
        return;
    }
    selectors::template_labels(spec, template, &under, errors);
    pod::template(template, &under, errors);
    long_running(template, &under, noun, errors);
}

fn strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rolling = get(strategy, "rollingUpdate");
    let under = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" => {
            if !rolling.is_null() {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                errors.forbidden(&under, why);
            }
        }
        "RollingUpdate" => {
            if rolling.is_null() {
                let why = "this should be defaulted and never be nil";
                errors.required(&under, why);
            } else {
                rolling_update(rolling, &under, errors);
            }
        }
        other => {
            let known = ["Recreate", "RollingUpdate"];
            let shown = format!(
                "{{\"Type\":{},\"RollingUpdate\":{}}}",
                Value::from(other),
                go_rolling(rolling, &[("MaxUnavailable", "maxUnavailable"), ("MaxSurge", "maxSurge")])
            );
            errors.not_supported(path, Value::Null, &known);
            if let Some(last) = errors.0.last_mut() {
                last.bad = crate::status::Bad::Raw(shown);
            }
        }
    }
}

/// A rolling update with the names of Go's own fields.
fn go_rolling(rolling: &Value, fields: &[(&str, &str)]) -> String {
    if rolling.is_null() {
        return "null".to_owned();
    }
    let parts = fields.iter().map(|(go, json)| format!("\"{go}\":{}", get(rolling, json)));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

fn rolling_update(rolling: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (unavailable, surge) = (get(rolling, "maxUnavailable"), get(rolling, "maxSurge"));
    int_or_percent(unavailable, &path.child("maxUnavailable"), errors);
    int_or_percent(surge, &path.child("maxSurge"), errors);
    if amount(unavailable) == 0 && amount(surge) == 0 {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.invalid(&path.child("maxUnavailable"), unavailable.clone(), why);
    }
    not_above_all(unavailable, &path.child("maxUnavailable"), errors);
}

/// A changed Deployment. Its selector stays: the server's strategy.
pub(super) fn deployment_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        deployment(new, errors);
    }
    deployment_status(new, old, errors);
}

fn deployment_status(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    if now == before {
        return;
    }
    let path = Path::new("status");
    counts(
        now,
        &["observedGeneration", "replicas", "updatedReplicas", "terminatingReplicas",
            "readyReplicas", "availableReplicas", "unavailableReplicas", "collisionCount"],
        &path,
        errors,
    );
    let whole = int(now, "replicas").unwrap_or(0);
    for key in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        not_above(now, key, whole, "cannot be greater than status.replicas", &path, errors);
    }
    let ready = int(now, "readyReplicas").unwrap_or(0);
    let why = "cannot be greater than readyReplicas";
    not_above(now, "availableReplicas", ready, why, &path, errors);
    collisions(now, before, &path, errors);
}

/// Numbers that must not be negative.
fn counts(status: &Value, keys: &[&str], path: &Path<'_>, errors: &mut Errors) {
    for key in keys {
        errors.not_negative(&path.child(key), int(status, key));
    }
}

fn not_above(
    status: &Value,
    key: &str,
    most: i64,
    why: &str,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let number = int(status, key).unwrap_or(0);
    if number > most {
        errors.invalid(&path.child(key), number, why);
    }
}

fn collisions(now: &Value, before: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(old) = int(before, "collisionCount") {
        let new = int(now, "collisionCount").unwrap_or(0);
        if new < old {
            errors.invalid(&path.child("collisionCount"), new, "cannot be decremented");
        }
    }
}

/// Status of a ReplicaSet or ReplicationController.
pub(super) fn replicas_status(new: &Value, old: &Value, errors: &mut Errors) {
    let now = get(new, "status");
    if now == get(old, "status") {
        return;
    }
    let path = Path::new("status");
    counts(
        now,
        &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas",
            "terminatingReplicas", "observedGeneration"],
        &path,
        errors,
    );
    let whole = int(now, "replicas").unwrap_or(0);
    for key in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        not_above(now, key, whole, "cannot be greater than status.replicas", &path, errors);
    }
    let ready = int(now, "readyReplicas").unwrap_or(0);
    let why = "cannot be greater than readyReplicas";
    not_above(now, "availableReplicas", ready, why, &path, errors);
}

/// A new ReplicaSet.
pub(super) fn replica_set(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    errors.not_negative(&path.child("replicas"), int(spec, "replicas"));
    errors.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    selectors::workload(spec, &path, "deployment", errors);
    template(spec, &path, "ReplicaSet", errors);
}

/// A changed ReplicaSet.
pub(super) fn replica_set_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        replica_set(new, errors);
    }
    selector_stays(new, old, errors);
    replicas_status(new, old, errors);
}

/// The selector of a workload never changes.
fn selector_stays(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (at(new, "/spec/selector"), at(old, "/spec/selector"));
    if now != before {
        let path = Path::new("spec");
        let shown = selectors::shown_selector(now);
        errors.invalid_raw(&path.child("selector"), shown, "field is immutable");
    }
}

/// A new DaemonSet.
pub(super) fn daemon_set(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    if has(spec, "selector") {
        selectors::workload(spec, &path, "daemonset", errors);
    }
    template(spec, &path, "DaemonSet", errors);
    errors.not_negative(&path.child("minReadySeconds"), int(spec, "minReadySeconds"));
    let strategy = get(spec, "updateStrategy");
    let under = path.child("updateStrategy");
    let rolling = get(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => errors.required(&under.child("rollingUpdate"), ""),
        "RollingUpdate" => daemon_rolling(rolling, &under.child("rollingUpdate"), errors),
        other => {
            let shown = format!(
                "{{\"Type\":{},\"RollingUpdate\":{}}}",
                Value::from(other),
                go_rolling(rolling, &[("MaxUnavailable", "maxUnavailable"), ("MaxSurge", "maxSurge")])
            );
            errors.not_supported(&under, Value::Null, &["RollingUpdate", "OnDelete"]);
            if let Some(last) = errors.0.last_mut() {
                last.bad = crate::status::Bad::Raw(shown);
            }
        }
    }
    errors.not_negative(&path.child("revisionHistoryLimit"), int(spec, "revisionHistoryLimit"));
}

fn daemon_rolling(rolling: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (unavailable, surge) = (get(rolling, "maxUnavailable"), get(rolling, "maxSurge"));
    let (at_unavailable, at_surge) = (path.child("maxUnavailable"), path.child("maxSurge"));
    int_or_percent(unavailable, &at_unavailable, errors);
    not_above_all(unavailable, &at_unavailable, errors);
    int_or_percent(surge, &at_surge, errors);
    not_above_all(surge, &at_surge, errors);
    match (amount(unavailable) != 0, amount(surge) != 0) {
        (true, true) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.invalid(&at_surge, surge.clone(), why);
        }
        (false, false) => {
            errors.required(&at_unavailable, "cannot be 0 when maxSurge is 0");
        }
        _ => {}
    }
}

/// A changed DaemonSet.
pub(super) fn daemon_set_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        daemon_set(new, errors);
    }
    selector_stays(new, old, errors);
    let (now, before) = (get(new, "status"), get(old, "status"));
    if now != before {
        let path = Path::new("status");
        let keys = ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled",
            "numberReady", "observedGeneration", "updatedNumberScheduled", "numberAvailable",
            "numberUnavailable", "collisionCount"];
        counts(now, &keys, &path, errors);
        collisions(now, before, &path, errors);
    }
}

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
            for key in ["replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy", "minReadySeconds"]
            {
                if let Some(map) = copy.as_object_mut() {
                    map.remove(key);
                }
            }
            copy
        };
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
    let keys = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas",
        "availableReplicas", "observedGeneration", "collisionCount"];
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

/// A ControllerRevision: its data stays.
pub(super) fn revision(object: &Value, errors: &mut Errors) {
    if get(object, "data").is_null() {
        errors.required(&Path::new("data"), "data is mandatory");
    }
    errors.not_negative(&Path::new("revision"), int(object, "revision"));
}

/// A changed ControllerRevision.
pub(super) fn revision_update(new: &Value, old: &Value, errors: &mut Errors) {
    revision(new, errors);
    errors.immutable(&Path::new("data"), get(new, "data"), get(old, "data"));
}

/// The name of a StatefulSet is part of its pods' host names.
pub(super) fn stateful_name(name: &str, prefix: bool) -> Vec<String> {
    metadata::label(name, prefix)
}
