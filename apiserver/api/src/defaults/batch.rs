//! Jobs and CronJobs.

use serde_json::Value;

use super::{
    core::labels_from,
    edit::{child, items, put, put_zero},
    pod,
};

/// A Job.
pub(super) fn job(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    if let Some(labels) = labels.filter(|l| l.as_object().is_some_and(|map| !map.is_empty())) {
        labels_from(object, labels);
    }
    let Some(spec) = child(object, "spec") else { return };
    let missing = |spec: &Value, key: &str| spec.get(key).is_none_or(Value::is_null);
    if missing(spec, "completions") && missing(spec, "parallelism") {
        put(spec, "completions", 1);
    }
    put(spec, "parallelism", 1);
    let per_index = !missing(spec, "backoffLimitPerIndex");
    put(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    put(spec, "completionMode", "NonIndexed");
    put(spec, "suspend", false);
    let failure_policy = child(spec, "podFailurePolicy");
    let strict = failure_policy.is_some();
    if let Some(policy) = failure_policy {
        for rule in items(policy, "rules") {
            for pattern in items(rule, "onPodConditions") {
                put_zero(pattern, "status", "True");
            }
        }
    }
    let replacement = if strict { "Failed" } else { "TerminatingOrFailed" };
    put(spec, "podReplacementPolicy", replacement);
    put(spec, "manualSelector", false);
    pod::template_at(spec, "template");
}

/// A CronJob. The Job in it gets its defaults when it is made.
pub(super) fn cron_job(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    put_zero(spec, "concurrencyPolicy", "Allow");
    put(spec, "suspend", false);
    put(spec, "successfulJobsHistoryLimit", 3);
    put(spec, "failedJobsHistoryLimit", 1);
    let template = child(spec, "jobTemplate").and_then(|template| child(template, "spec"));
    if let Some(job) = template {
        if let Some(policy) = child(job, "podFailurePolicy") {
            for rule in items(policy, "rules") {
                for pattern in items(rule, "onPodConditions") {
                    put_zero(pattern, "status", "True");
                }
            }
        }
        pod::template_at(job, "template");
    }
}
