//! HorizontalPodAutoscalers and PodDisruptionBudgets.

use serde_json::Value;

use super::{
    apps::{int_or_percent, not_above_all},
    check::{Errors, Path, get, has, int, list, text},
    conditions::conditions,
    selectors::{Strictness, label_selector},
};
use crate::{meta, quantity::Quantity};

/// Types of metrics and the field of each.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// Longest period of a scaling policy.
const LONGEST_PERIOD: i64 = 1800;
/// Longest time that recommendations are remembered.
const LONGEST_WINDOW: i64 = 3600;

/// A new HorizontalPodAutoscaler.
pub(super) fn autoscaler(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let least = int(spec, "minReplicas");
    if let Some(least) = least {
        errors.late(|errors| errors.not_negative(&path.child("minReplicas"), Some(least)));
    }
    let most = int(spec, "maxReplicas").unwrap_or(0);
    if most < 1 {
        errors.late(|errors| errors.required(&path.child("maxReplicas"), ""));
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.invalid(&path.child("maxReplicas"), most, why);
    }
    reference(get(spec, "scaleTargetRef"), &path.child("scaleTargetRef"), errors);
    scaled(get(spec, "scaleTargetRef"), &path.child("scaleTargetRef"), errors);
    first_version(spec, &path, errors);
    metrics(spec, &path, errors);
    behavior(get(spec, "behavior"), &path.child("behavior"), errors);
}

fn reference(target: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["kind", "name"] {
        match text(target, key) {
            "" => errors.required(&path.child(key), ""),
            name => errors.complaints(&path.child(key), name, meta::path_segment(name)),
        }
    }
}

/// What is scaled has a group, but for the one kind of the core group that scales.
fn scaled(target: &Value, path: &Path<'_>, errors: &mut Errors) {
    let version = text(target, "apiVersion");
    if !version.contains('/') && text(target, "kind") != "ReplicationController" {
        let why = "apiVersion must specify API group";
        errors.invalid(&path.child("apiVersion"), version, why);
    }
}

/// Version 1 has one metric in a field of its own, and reports it where version 2 has it.
fn first_version(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let percent = int(spec, "targetCPUUtilizationPercentage").filter(|percent| *percent < 1);
    if let Some(percent) = percent {
        let path = path.child("metrics");
        let path = path.index(0);
        let path = path.child("resource");
        let path = path.child("target");
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn metrics(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all = list(spec, "metrics");
    let path = path.child("metrics");
    for (at, metric) in all.iter().enumerate() {
        self::metric(metric, &path.index(at), errors);
    }
    let outside = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if int(spec, "minReplicas") == Some(0) && !all.iter().any(outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero \
                   replicas";
        errors.forbidden(&path, why);
    }
}

fn metric(metric: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(metric, "type");
    let at_kind = path.child("type");
    if kind.is_empty() {
        errors.required(&at_kind, "must specify a metric source type");
    }
    let expected = METRICS.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if expected.is_none() {
        let known: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        errors.not_supported(&at_kind, kind, &known);
    }
    let mut present = Vec::new();
    for (field, check) in [
        ("object", object_source as fn(&Value, &Path<'_>, &mut Errors)),
        ("external", external_source),
        ("pods", pods_source),
        ("resource", resource_source),
        ("containerResource", container_source),
    ] {
        let source = get(metric, field);
        if source.is_null() {
            continue;
        }
        // Of several sources only the first is looked into.
        present.push(field);
        if present.len() == 1 {
            check(source, &path.child(field), errors);
        }
    }
    if let Some(field) = expected.filter(|field| !present.contains(field)) {
        let why = "must populate information for the given metric source";
        errors.required(&path.child(field), why);
    }
    if present.len() > 1 {
        for field in present.into_iter().filter(|field| Some(*field) != expected) {
            errors.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
}

fn identifier(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let metric = get(source, "metric");
    let path = path.child("metric");
    match text(metric, "name") {
        "" => errors.required(&path.child("name"), "must specify a metric name"),
        name => errors.complaints(&path.child("name"), name, meta::path_segment(name)),
    }
}

fn target(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let target = get(source, "target");
    let path = path.child("target");
    let at = path.child("type");
    match text(target, "type") {
        "" => errors.required(&at, "must specify a metric target type"),
        "Utilization" | "Value" | "AverageValue" => {}
        other => errors.invalid(&at, other, "must be either Utilization, Value, or AverageValue"),
    }
    for key in ["value", "averageValue"] {
        let value = get(target, key);
        let amount = value.as_str().and_then(|text| text.parse::<Quantity>().ok());
        if amount.is_some_and(|amount| amount.sign() != 1) {
            errors.invalid(&path.child(key), value.clone(), "must be positive");
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn object_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    reference(get(source, "describedObject"), &path.child("describedObject"), errors);
    identifier(source, path, errors);
    target(source, path, errors);
    let wanted = get(source, "target");
    if !has(wanted, "value") && !has(wanted, "averageValue") {
        let path = path.child("target");
        let why = "must set either a target value or averageValue";
        errors.required(&path.child("averageValue"), why);
    }
}

fn external_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    identifier(source, path, errors);
    target(source, path, errors);
    let wanted = get(source, "target");
    let path = path.child("target");
    match (has(wanted, "value"), has(wanted, "averageValue")) {
        (false, false) => {
            let why = "must set either a target value for metric or a per-pod target";
            errors.required(&path.child("averageValue"), why);
        }
        (true, true) => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&path.child("value"), why);
        }
        _ => {}
    }
}

fn pods_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    identifier(source, path, errors);
    target(source, path, errors);
    let average = get(get(source, "target"), "averageValue");
    let amount = average.as_str().and_then(|text| text.parse::<Quantity>().ok());
    if amount.is_none_or(|amount| amount.sign() != 1) {
        let path = path.child("target");
        let why = "must specify a positive target averageValue";
        errors.required(&path.child("averageValue"), why);
    }
}

fn container_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "container").is_empty() {
        errors.required(&path.child("container"), "must specify a container");
    }
    resource_source(source, path, errors);
}

fn resource_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "name").is_empty() {
        errors.required(&path.child("name"), "must specify a resource name");
    }
    target(source, path, errors);
    let wanted = get(source, "target");
    let path = path.child("target");
    match (has(wanted, "averageUtilization"), has(wanted, "averageValue")) {
        (false, false) => {
            let why = "must set either a target raw value or a target utilization";
            errors.required(&path.child("averageUtilization"), why);
        }
        (true, true) => {
            let why = "may not set both a target raw value and a target utilization";
            errors.forbidden(&path.child("averageValue"), why);
        }
        _ => {}
    }
}

fn behavior(behavior: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["scaleUp", "scaleDown"] {
        let rules = get(behavior, key);
        if rules.is_null() {
            continue;
        }
        let path = path.child(key);
        if let Some(seconds) = int(rules, "stabilizationWindowSeconds") {
            let at = path.child("stabilizationWindowSeconds");
            if seconds < 0 {
                errors.invalid(&at, seconds, "must be greater than or equal to zero");
            } else if seconds > LONGEST_WINDOW {
                let why = format!("must be less than or equal to {LONGEST_WINDOW}");
                errors.invalid(&at, seconds, &why);
            }
        }
        if has(rules, "selectPolicy") {
            let known = ["Disabled", "Max", "Min"];
            errors.one_of(&path.child("selectPolicy"), text(rules, "selectPolicy"), &known);
        }
        let policies = list(rules, "policies");
        let under = path.child("policies");
        if policies.is_empty() {
            errors.required(&under, "must specify at least one Policy");
        }
        for (at, policy) in policies.iter().enumerate() {
            self::policy(policy, &under.index(at), errors);
        }
        let tolerance = get(rules, "tolerance");
        let amount = tolerance.as_str().and_then(|text| text.parse::<Quantity>().ok());
        if amount.is_some_and(|amount| amount.sign() < 0) {
            let why = "must be greater than or equal to 0";
            errors.invalid(&path.child("tolerance"), tolerance.clone(), why);
        }
    }
}

fn policy(policy: &Value, path: &Path<'_>, errors: &mut Errors) {
    errors.one_of(&path.child("type"), text(policy, "type"), &["Percent", "Pods"]);
    for key in ["value", "periodSeconds"] {
        let number = int(policy, key).unwrap_or(0);
        if number <= 0 {
            errors.invalid(&path.child(key), number, "must be greater than zero");
        }
    }
    if let Some(seconds) = int(policy, "periodSeconds").filter(|s| *s > LONGEST_PERIOD) {
        let why = format!("must be less than or equal to {LONGEST_PERIOD}");
        errors.invalid(&path.child("periodSeconds"), seconds, &why);
    }
}

/// A changed HorizontalPodAutoscaler.
pub(super) fn autoscaler_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        autoscaler(new, errors);
    }
    let path = Path::new("status");
    for key in ["currentReplicas", "desiredReplicas"] {
        errors.not_negative(&path.child(key), int(get(new, "status"), key));
    }
}

/// A new PodDisruptionBudget.
pub(super) fn budget(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\
             \"UnhealthyPodEvictionPolicy\":{}}}",
            get(spec, "minAvailable"),
            super::selectors::shown_selector(get(spec, "selector")),
            get(spec, "maxUnavailable"),
            get(spec, "unhealthyPodEvictionPolicy")
        );
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid_raw(&path, shown, why);
    }
    for key in ["minAvailable", "maxUnavailable"] {
        let value = get(spec, key);
        if !value.is_null() {
            int_or_percent(value, &path.child(key), errors);
            not_above_all(value, &path.child(key), errors);
        }
    }
    label_selector(get(spec, "selector"), &path.child("selector"), Strictness::default(), errors);
    if has(spec, "unhealthyPodEvictionPolicy") {
        let known = ["AlwaysAllow", "IfHealthyBudget"];
        let policy = text(spec, "unhealthyPodEvictionPolicy");
        errors.one_of(&path.child("unhealthyPodEvictionPolicy"), policy, &known);
    }
}

/// A changed PodDisruptionBudget.
pub(super) fn budget_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        budget(new, errors);
    }
    let status = get(new, "status");
    if status == get(old, "status") {
        return;
    }
    let path = Path::new("status");
    conditions(list(status, "conditions"), &path.child("conditions"), errors);
    for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        errors.not_negative(&path.child(key), int(status, key));
    }
}
