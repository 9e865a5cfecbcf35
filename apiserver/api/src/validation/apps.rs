//! Workloads of the group apps: selectors that match, templates that can run, numbers that make
//! sense.

use serde_json::Value;

use super::{
    check::{Errors, Path, at, get, has, int, text},
    core::pod,
    selectors,
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
pub(super) fn amount(value: &Value) -> i64 {
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

pub(super) fn template(spec: &Value, path: &Path<'_>, noun: &str, errors: &mut Errors) {
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
                go_rolling(
                    rolling,
                    &[("MaxUnavailable", "maxUnavailable"), ("MaxSurge", "maxSurge")]
                )
            );
            errors.not_supported(path, Value::Null, &known);
            if let Some(last) = errors.0.last_mut() {
                last.bad = crate::status::Bad::Raw(shown);
            }
        }
    }
}

/// A rolling update with the names of Go's own fields.
pub(super) fn go_rolling(rolling: &Value, fields: &[(&str, &str)]) -> String {
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
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "terminatingReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "collisionCount",
        ],
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
pub(super) fn counts(status: &Value, keys: &[&str], path: &Path<'_>, errors: &mut Errors) {
    for key in keys {
        errors.not_negative(&path.child(key), int(status, key));
    }
}

pub(super) fn not_above(
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

pub(super) fn collisions(now: &Value, before: &Value, path: &Path<'_>, errors: &mut Errors) {
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
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "terminatingReplicas",
            "observedGeneration",
        ],
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
                go_rolling(
                    rolling,
                    &[("MaxUnavailable", "maxUnavailable"), ("MaxSurge", "maxSurge")]
                )
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
        let keys = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        counts(now, &keys, &path, errors);
        collisions(now, before, &path, errors);
    }
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
