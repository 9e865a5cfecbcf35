//! Jobs.

use serde_json::Value;

use super::{
    batch_policies,
    check::{Errors, Path, at, get, has, int, text},
    core::pod,
    metadata, selectors,
};
use crate::go_text;

/// Label with the Job's uid.
const UID: &str = "batch.kubernetes.io/controller-uid";
/// Label with the Job's name.
const NAME: &str = "batch.kubernetes.io/job-name";
/// Most completions of a Job that counts indexes.
const MOST_INDEXES: i64 = 1_000_000;

/// A new Job.
pub(super) fn job(object: &Value, errors: &mut Errors) {
    generated_selector(object, errors);
    let path = Path::new("spec");
    job_spec(get(object, "spec"), &path, errors);
    matches(object, &path, errors);
}

/// The labels that the server made must be as it made them.
fn generated_selector(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let manual = get(spec, "manualSelector") == &Value::Bool(true);
    let selector = at(spec, "/selector");
    if manual || selector.is_null() {
        return;
    }
    let name = text(get(object, "metadata"), "name");
    let uid = text(get(object, "metadata"), "uid");
    let labels = at(spec, "/template/metadata/labels");
    let path = Path::new("spec");
    let template = path.child("template");
    let metadata = template.child("metadata");
    let under = metadata.child("labels");
    for (key, want) in [("controller-uid", uid), ("job-name", name), (UID, uid), (NAME, name)] {
        if labels.get(key).and_then(Value::as_str) != Some(want) {
            errors.invalid(&under.key(key), labels.clone(), &format!("must be '{want}'"));
        }
    }
    let made = at(selector, "/matchLabels").get(UID).and_then(Value::as_str) == Some(uid);
    if !made || at(selector, "/matchLabels").as_object().is_some_and(|map| map.len() != 1) {
        let shown = selectors::shown_selector(selector);
        errors.invalid_raw(&path.child("selector"), shown, "`selector` not auto-generated");
    }
}

fn matches(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    let spec = get(object, "spec");
    if get(spec, "selector").is_null() {
        errors.required(&path.child("selector"), "");
    }
    let selector = path.child("selector");
    let strictness = selectors::Strictness::default();
    selectors::label_selector(get(spec, "selector"), &selector, strictness, errors);
    selectors::template_labels(spec, get(spec, "template"), &path.child("template"), errors);
}

/// What holds for a Job and for the template of one.
pub(super) fn job_spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ] {
        errors.not_negative(&path.child(key), int(spec, key));
    }
    indexed(spec, path, errors);
    let template = get(spec, "template");
    let under = path.child("template");
    if has(spec, "podFailurePolicy") {
        batch_policies::failure(spec, path, errors);
    }
    if has(spec, "successPolicy") {
        batch_policies::success(spec, path, errors);
    }
    replacement(spec, path, errors);
    pod::template(template, &under, errors);
    let policy = text(get(template, "spec"), "restartPolicy");
    let at_policy = under.child("spec");
    let at_policy = at_policy.child("restartPolicy");
    match policy {
        "" | "Always" => {
            errors.required(&at_policy, "valid values: \"OnFailure\", \"Never\"");
        }
        "OnFailure" if has(spec, "podFailurePolicy") => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(&at_policy, policy, why);
        }
        _ => {}
    }
}

fn indexed(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mode = text(spec, "completionMode");
    let completions = int(spec, "completions");
    if !mode.is_empty() && !matches!(mode, "NonIndexed" | "Indexed") {
        errors.not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if mode == "Indexed" {
        match completions {
            None => {
                let why = "when completion mode is Indexed";
                errors.required(&path.child("completions"), why);
            }
            Some(count) => {
                let parallel = int(spec, "parallelism").unwrap_or(0);
                if parallel > 100_000 && count > 100_000 {
                    let why = "must be less than or equal to 100000 when completions are over \
                               100000 and used with backoff limit per index";
                    let at = path.child("parallelism");
                    if has(spec, "backoffLimitPerIndex") {
                        errors.invalid(&at, parallel, why);
                    }
                }
                if count > MOST_INDEXES && has(spec, "backoffLimitPerIndex") {
                    let why = format!("must be less than or equal to {MOST_INDEXES}");
                    errors.invalid(&path.child("completions"), count, &why);
                }
            }
        }
    } else if has(spec, "backoffLimitPerIndex") {
        let value = get(spec, "backoffLimitPerIndex").clone();
        let why = "requires indexed completion mode";
        errors.invalid(&path.child("backoffLimitPerIndex"), value, why);
    }
    if has(spec, "maxFailedIndexes") {
        let failed = int(spec, "maxFailedIndexes");
        errors.not_negative(&path.child("maxFailedIndexes"), failed);
        if !has(spec, "backoffLimitPerIndex") {
            let why = "when maxFailedIndexes is specified";
            errors.required(&path.child("backoffLimitPerIndex"), why);
        }
    }
}

fn replacement(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = text(spec, "podReplacementPolicy");
    if policy.is_empty() {
        return;
    }
    let at = path.child("podReplacementPolicy");
    if has(spec, "podFailurePolicy") {
        errors.one_of(&at, policy, &["Failed"]);
    } else {
        errors.one_of(&at, policy, &["Failed", "TerminatingOrFailed"]);
    }
}

/// A changed Job: what it counts by stays.
pub(super) fn job_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    if now != before {
        let path = Path::new("spec");
        job_spec(now, &path, errors);
        matches(new, &path, errors);
        stays(now, before, &path, errors);
    }
    super::batch_status::job(new, old, errors);
}

fn stays(now: &Value, before: &Value, path: &Path<'_>, errors: &mut Errors) {
    if get(now, "selector") != get(before, "selector") {
        let shown = selectors::shown_selector(get(now, "selector"));
        errors.invalid_raw(&path.child("selector"), shown, "field is immutable");
    }
    let completions = (int(now, "completions"), int(before, "completions"));
    if completions.0 != completions.1 && completions.0.is_some() {
        let elastic = text(now, "completionMode") == "Indexed"
            && completions.0 == int(now, "parallelism")
            && completions.1 == int(before, "parallelism");
        if !elastic {
            let value = get(now, "completions").clone();
            let why = if text(now, "completionMode") == "Indexed" {
                "can only be modified in tandem with spec.parallelism"
            } else {
                "field is immutable"
            };
            errors.invalid(&path.child("completions"), value, why);
        }
    }
    for (key, kind) in [
        ("completionMode", ""),
        ("podFailurePolicy", "io.k8s.api.batch.v1.PodFailurePolicy"),
        ("backoffLimitPerIndex", ""),
        ("managedBy", ""),
        ("successPolicy", "io.k8s.api.batch.v1.SuccessPolicy"),
    ] {
        errors.stays(&path.child(key), kind, get(now, key), get(before, key));
    }
    template_stays(now, before, path, errors);
}

/// The template stays, but that a suspended Job that never ran may be scheduled otherwise.
fn template_stays(now: &Value, before: &Value, path: &Path<'_>, errors: &mut Errors) {
    let suspended = get(before, "suspend") == &Value::Bool(true);
    let bare = |spec: &Value| {
        let mut copy = get(spec, "template").clone();
        if !suspended {
            return copy;
        }
        for pointer in [
            "/metadata/labels",
            "/metadata/annotations",
            "/spec/nodeSelector",
            "/spec/affinity",
            "/spec/tolerations",
            "/spec/schedulingGates",
        ] {
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
            if let Some(map) = copy.pointer_mut(parent).and_then(Value::as_object_mut) {
                map.remove(key);
            }
        }
        for key in ["containers", "initContainers"] {
            let containers =
                copy.pointer_mut(&format!("/spec/{key}")).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                if let Some(map) = container.as_object_mut() {
                    map.remove("resources");
                }
            }
        }
        copy
    };
    let (bare, old) = (bare(now), bare(before));
    let (template, path) = (get(now, "template"), path.child("template"));
    if suspended && get(&bare, "metadata") == get(&old, "metadata") {
        errors.immutable(&path.child("spec"), get(&bare, "spec"), get(&old, "spec"));
    } else if bare != old {
        let shown = go_text::shown("io.k8s.api.core.v1.PodTemplateSpec", template);
        errors.invalid_raw(&path, shown, "field is immutable");
    }
}

/// Names of Jobs: their pods and indexes need room.
pub(super) fn job_name(name: &str, prefix: bool) -> Vec<String> {
    metadata::subdomain(name, prefix)
}
