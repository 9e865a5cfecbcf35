//! A Job's status: finished Jobs stay finished, and counters don't run backwards.

use serde_json::Value;

use super::{
    batch_policies::omitted,
    check::{Errors, Path, at, get, has, int, list, text},
};

fn holds(job: &Value, condition: &str) -> bool {
    let conditions = list(get(job, "status"), "conditions").iter();
    let mut conditions = conditions.filter(|c| text(c, "type") == condition);
    conditions.any(|c| text(c, "status") == "True")
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
    times(new, old, &path, errors);
    terminal(new, old, &path, errors);
    let indexed = at(new, "/spec/completionMode") == "Indexed";
    for key in ["failed", "succeeded"] {
        let (count, past) = (int(now, key).unwrap_or(0), int(before, key).unwrap_or(0));
        let elastic = key == "succeeded" && indexed;
        if count < past && !elastic {
            let why = format!("cannot decrease the {key} counter");
            errors.invalid(&path.child(key), count, &why);
        }
    }
}

fn terminal(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let now = get(new, "status");
    let (complete, failed) = (holds(new, "Complete"), holds(new, "Failed"));
    let at = path.child("conditions");
    let mut refuse = |why: &str| errors.0.push(omitted(&at, why));
    if complete && failed {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if complete && holds(new, "FailureTarget") {
        refuse("cannot set Complete=True and FailureTarget=true conditions");
    }
    if complete && !holds(new, "SuccessCriteriaMet") {
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    if failed && !holds(new, "FailureTarget") {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    for condition in ["Complete", "Failed"] {
        if holds(old, condition) && !holds(new, condition) {
            refuse(&format!("cannot disable the terminal {condition}=True condition"));
        }
    }
    for condition in ["FailureTarget", "SuccessCriteriaMet"] {
        if holds(old, condition) && !holds(new, condition) {
            refuse(&format!("cannot disable the {condition}=True condition"));
        }
    }
    if !complete && !failed {
        return;
    }
    let idle = |key: &str, errors: &mut Errors| {
        if let Some(count) = int(now, key).filter(|count| *count > 0) {
            errors.invalid(
                &path.child(key),
                count,
                &format!("{key}>0 is invalid for finished job"),
            );
        }
    };
    idle("active", errors);
    let uncounted = get(now, "uncountedTerminatedPods");
    let left = ["succeeded", "failed"].iter().any(|key| !list(uncounted, key).is_empty());
    if left {
        let go = |key: &str| match get(uncounted, key) {
            Value::Null => "null".to_owned(),
            value => value.to_string(),
        };
        let value = format!("{{\"Succeeded\":{},\"Failed\":{}}}", go("succeeded"), go("failed"));
        let why = "must be empty for finished job";
        errors.invalid_raw(&path.child("uncountedTerminatedPods"), value, why);
    }
    idle("terminating", errors);
}

fn times(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (now, before) = (get(new, "status"), get(old, "status"));
    let complete = holds(new, "Complete");
    let suspended = get(get(new, "spec"), "suspend") == &Value::Bool(true);
    let at_start = path.child("startTime");
    if has(before, "startTime") && get(now, "startTime") != get(before, "startTime") && !suspended {
        let why = "field is immutable for unsuspended job once set";
        errors.invalid(&at_start, get(now, "startTime").clone(), why);
    }
    let at_end = path.child("completionTime");
    let ended = has(now, "completionTime");
    if complete && !ended {
        errors.required(&at_end, "completionTime is required for Complete jobs");
    }
    let moved = get(now, "completionTime") != get(before, "completionTime");
    if ended && moved && !complete {
        let why = "cannot set completionTime when there is no Complete=True condition";
        errors.invalid(&at_end, get(now, "completionTime").clone(), why);
    }
    if has(before, "completionTime") && ended && moved {
        let value = get(now, "completionTime").clone();
        errors.invalid(&at_end, value, "field is immutable");
    }
}
