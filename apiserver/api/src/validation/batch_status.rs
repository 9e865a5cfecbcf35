//! A Job's status: finished Jobs stay finished, and counters don't run backwards.
//!
//! Some rules came after Jobs that break them, so that each holds only when what it is about
//! changes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    batch_policies::omitted,
    check::{Errors, Path, at, get, has, int, list, text, texts},
};

fn holds(job: &Value, condition: &str) -> bool {
    let conditions = list(get(job, "status"), "conditions").iter();
    let mut conditions = conditions.filter(|c| text(c, "type") == condition);
    conditions.any(|c| text(c, "status") == "True")
}

fn is_finished(job: &Value) -> bool {
    holds(job, "Complete") || holds(job, "Failed")
}

/// A changed status.
pub(super) fn job(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    if now == before {
        return;
    }
    let path = Path::new("status");
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        errors.not_negative(&path.child(key), int(now, key));
    }
    uncounted(now, &path, errors);
    let conditions = path.child("conditions");
    let refuse = |why: &str, errors: &mut Errors| errors.0.push(omitted(&conditions, why));
    let (complete, failed) = (holds(new, "Complete"), holds(new, "Failed"));
    if complete && failed {
        refuse("cannot set Complete=True and Failed=true conditions", errors);
    }
    if complete && holds(new, "FailureTarget") {
        refuse("cannot set Complete=True and FailureTarget=true conditions", errors);
    }
    times(new, old, &path, errors);
    if failed && !holds(new, "FailureTarget") {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition", errors);
    }
    if complete && !holds(new, "SuccessCriteriaMet") {
        let why =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        refuse(why, errors);
    }
    finished(new, old, &path, errors);
    for condition in ["Complete", "Failed"] {
        if holds(old, condition) && !holds(new, condition) {
            refuse(&format!("cannot disable the terminal {condition}=True condition"), errors);
        }
    }
    for condition in ["FailureTarget", "SuccessCriteriaMet"] {
        if holds(old, condition) && !holds(new, condition) {
            refuse(&format!("cannot disable the {condition}=True condition"), errors);
        }
    }
    started(new, old, &path, errors);
    let indexed = at(new, "/spec/completionMode") == "Indexed";
    for key in ["failed", "succeeded"] {
        let (count, past) = (int(now, key).unwrap_or(0), int(before, key).unwrap_or(0));
        if count < past && !(key == "succeeded" && indexed) {
            let why = format!("cannot decrease the {key} counter");
            errors.invalid(&path.child(key), count, &why);
        }
    }
}

/// Pods that ended and are not yet counted: each once.
fn uncounted(status: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for key in ["succeeded", "failed"] {
        let path = path.child(key);
        for (index, uid) in texts(get(status, "uncountedTerminatedPods"), key).enumerate() {
            if uid.is_empty() {
                errors.invalid(&path.index(index), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&path.index(index), uid);
            }
        }
    }
}

fn times(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    let complete = holds(new, "Complete");
    let at_end = path.child("completionTime");
    let end = get(now, "completionTime");
    let moved = end != get(before, "completionTime");
    if !end.is_null() && !complete && (moved || holds(old, "Complete")) {
        let why = "cannot set completionTime when there is no Complete=True condition";
        errors.invalid(&at_end, end.clone(), why);
    }
    if complete && end.is_null() {
        errors.required(&at_end, "completionTime is required for Complete jobs");
    }
    // Canonical times are in order as texts too.
    if let (Some(start), Some(done)) = (get(now, "startTime").as_str(), end.as_str())
        && moved
        && done < start
    {
        errors.invalid(&at_end, done, "must be equal to or after `startTime`");
    }
    if has(before, "completionTime") && moved && !end.is_null() && holds(old, "Complete") {
        errors.invalid(&at_end, end.clone(), "field is immutable");
    }
}

fn finished(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    let done = is_finished(new);
    let ended_now = done && !is_finished(old);
    let idle = |key: &str, errors: &mut Errors| {
        let changed = ended_now || get(now, key) != get(before, key);
        if let Some(count) = int(now, key).filter(|count| done && changed && *count > 0) {
            let why = format!("{key}>0 is invalid for finished job");
            errors.invalid(&path.child(key), count, &why);
        }
    };
    idle("active", errors);
    let left = get(now, "uncountedTerminatedPods");
    let some = ["succeeded", "failed"].iter().any(|key| !list(left, key).is_empty());
    if done && some {
        let value = format!(
            "{{\"Succeeded\":{},\"Failed\":{}}}",
            get(left, "succeeded"),
            get(left, "failed")
        );
        let why = "must be empty for finished job";
        errors.invalid_raw(&path.child("uncountedTerminatedPods"), value, why);
    }
    idle("terminating", errors);
    indexes(new, old, path, errors);
    if ended_now && !has(now, "startTime") {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
    let (ready, active) = (int(now, "ready"), int(now, "active").unwrap_or(0));
    let changed =
        get(now, "ready") != get(before, "ready") || get(now, "active") != get(before, "active");
    if let Some(ready) = ready.filter(|ready| changed && *ready > active.max(0)) {
        errors.invalid(&path.child("ready"), ready, "cannot set more ready pods than active");
    }
}

fn indexes(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    let completed = text(now, "completedIndexes");
    let indexed = at(new, "/spec/completionMode") == "Indexed";
    if !completed.is_empty() && !indexed && completed != text(before, "completedIndexes") {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&path.child("completedIndexes"), completed, why);
    }
    let failed = get(now, "failedIndexes");
    let per_index = !at(new, "/spec/backoffLimitPerIndex").is_null();
    if !failed.is_null() && !per_index && failed != get(before, "failedIndexes") {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&path.child("failedIndexes"), failed.clone(), why);
    }
}

/// The start stays for as long as the Job is not suspended.
fn started(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    let suspended = get(get(new, "spec"), "suspend") == &Value::Bool(true);
    let moved = get(now, "startTime") != get(before, "startTime");
    if has(before, "startTime") && moved && !suspended {
        let why = "field is immutable for unsuspended job once set";
        errors.invalid(&path.child("startTime"), get(now, "startTime").clone(), why);
    }
}
