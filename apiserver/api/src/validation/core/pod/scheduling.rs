//! Where a pod may run: node selectors, tolerations, gates, spreading.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::super::{
        check::{Errors, Path, get, has, int, list, text, texts},
        selectors::{Strictness, label_selector},
    },
    affinity,
};
use crate::meta;

/// Effects of a taint.
pub(in crate::validation) const EFFECTS: [&str; 3] =
    ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The terms of a node selector: at least one.
pub(in crate::validation) fn node_selector_terms(
    selector: &Value,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let path = path.child("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (at, term) in terms.iter().enumerate() {
        node_selector_term(term, &path.index(at), errors);
    }
}

/// One term.
pub(super) fn node_selector_term(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    let under = path.child("matchExpressions");
    for (at, rule) in list(term, "matchExpressions").iter().enumerate() {
        let path = under.index(at);
        operator(rule, &path, errors);
        let key = text(rule, "key");
        errors.complaints(&path.child("key"), key, meta::label_key(key));
        let values = path.child("values");
        for (at, value) in texts(rule, "values").enumerate() {
            errors.complaints(&values.index(at), value, meta::label_value(value));
        }
    }
    let under = path.child("matchFields");
    for (at, rule) in list(term, "matchFields").iter().enumerate() {
        field(rule, &under.index(at), errors);
    }
}

fn operator(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let count = list(rule, "values").len();
    let at = path.child("values");
    match text(rule, "operator") {
        "In" | "NotIn" => {
            if count == 0 {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(&at, why);
            }
        }
        "Exists" | "DoesNotExist" => {
            if count > 0 {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at, why);
            }
        }
        "Gt" | "Lt" => {
            if count != 1 {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(&at, why);
            }
        }
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
}

fn field(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    match text(rule, "operator") {
        "In" | "NotIn" => {
            if list(rule, "values").len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node \
                           field \
                           selector";
                errors.required(&path.child("values"), why);
            }
        }
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    let key = text(rule, "key");
    if key != "metadata.name" {
        errors.invalid(&path.child("key"), key, "not a valid field selector key");
        return;
    }
    let under = path.child("values");
    for (at, value) in texts(rule, "values").enumerate() {
        errors.complaints(&under.index(at), value, meta::dns1123_subdomain(value));
    }
}

/// Tolerations of taints.
pub(in crate::validation) fn tolerations(all: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (at, one) in all.iter().enumerate() {
        toleration(one, &path.index(at), errors);
    }
}

/// One toleration.
pub(in crate::validation) fn toleration(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (key, value) = (text(one, "key"), text(one, "value"));
    let (operator, effect) = (text(one, "operator"), text(one, "effect"));
    if !key.is_empty() {
        errors.complaints(&path.child("key"), key, meta::label_key(key));
    }
    let at = path.child("operator");
    if key.is_empty() && operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and \
                   all keys\"";
        errors.invalid(&at, operator, why);
    }
    if has(one, "tolerationSeconds") && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(&path.child("effect"), effect, why);
    }
    match operator {
        "Equal" | "" => errors.complaints(&at, value, meta::label_value(value)),
        "Exists" => {
            if !value.is_empty() {
                errors.invalid(&at, value, "value must be empty when `operator` is 'Exists'");
            }
        }
        // These are known and switched off, which the original says in just this way.
        "Lt" | "Gt" => errors.not_supported(&at, operator, &["Equal", "Exists", "Lt", "Gt"]),
        other => errors.not_supported(&at, other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        errors.one_of(&path.child("effect"), effect, &EFFECTS);
    }
}

/// Conditions that must hold for a pod to be ready.
pub(super) fn readiness_gates(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("readinessGates");
    for (at, gate) in list(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        errors.complaints(&path.index(at).child("conditionType"), kind, meta::qualified_name(kind));
    }
}

/// What must be removed before a pod is scheduled.
pub(super) fn scheduling_gates(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("schedulingGates");
    let mut seen = BTreeSet::new();
    for (at, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let path = path.index(at);
        let name = text(gate, "name");
        errors.complaints(&path, name, meta::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

/// How pods spread over the topology.
pub(super) fn spread(spec: &Value, own: usize, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("topologySpreadConstraints");
    let all = list(spec, "topologySpreadConstraints");
    for (at, one) in all.iter().enumerate() {
        let path = path.index(at);
        let skew = int(one, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, "must be greater than zero");
        }
        let key = text(one, "topologyKey");
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        let action = text(one, "whenUnsatisfiable");
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        errors.one_of(&path.child("whenUnsatisfiable"), action, &known);
        let pair = format!("{{{key}, {action}}}");
        let same = |other: &&Value| {
            text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == action
        };
        if all[at + 1..].iter().any(|other| same(&other)) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), pair);
        }
        min_domains(one, action, &path, errors);
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if has(one, key) {
                errors.one_of(&path.child(key), text(one, key), &["Honor", "Ignore"]);
            }
        }
        let selector = get(one, "labelSelector");
        affinity::label_keys(one, "matchLabelKeys", selector, &path, errors);
        affinity::in_both(one, selector, own, &path, errors);
        label_selector(selector, &path.child("labelSelector"), Strictness::default(), errors);
    }
}

fn min_domains(one: &Value, action: &str, path: &Path<'_>, errors: &mut Errors) {
    let Some(least) = int(one, "minDomains") else { return };
    let at = path.child("minDomains");
    if least <= 0 {
        errors.invalid(&at, least, "must be greater than zero");
    }
    if action != "DoNotSchedule" {
        let why =
            format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(&at, least, &why);
    }
}
