//! ResourceQuotas.

use serde_json::Value;

use super::{
    super::check::{Errors, Path, entries, get, list, text, texts},
    pod::{amount, resource_name},
};

/// Scopes that there are.
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
/// Scopes that either hold or don't.
const PLAIN: [&str; 5] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"];
/// Resources without a domain that a quota can limit.
const LIMITED: [&str; 18] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
];

fn quota_name(name: &str) -> Vec<String> {
    let mut out = resource_name(name);
    let known = LIMITED.contains(&name)
        || matches!(name, "services.loadbalancers" | "storage")
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !known {
        out.push("must be a standard resource for quota".to_owned());
    }
    out
}

/// A new ResourceQuota.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    hard(spec, "hard", &path, errors);
    scopes(spec, &path, errors);
    selector(spec, &path, errors);
    let status = Path::new("status");
    for key in ["hard", "used"] {
        hard(get(object, "status"), key, &status, errors);
    }
}

fn hard(holder: &Value, key: &str, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child(key);
    for (name, value) in entries(holder, key) {
        let path = path.key(name);
        errors.complaints(&path, name, quota_name(name));
        amount(name, value, &path, errors);
    }
}

fn is_applicable(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => {
            matches!(
                resource,
                "pods"
                    | "cpu"
                    | "memory"
                    | "ephemeral-storage"
                    | "requests.cpu"
                    | "requests.memory"
                    | "requests.ephemeral-storage"
                    | "limits.cpu"
                    | "limits.memory"
                    | "limits.ephemeral-storage"
            )
        }
        "VolumeAttributesClass" => {
            matches!(resource, "requests.storage" | "persistentvolumeclaims")
        }
        _ => true,
    }
}

fn conflict(scopes: &[&str]) -> bool {
    let has = |name: &str| scopes.contains(&name);
    has("BestEffort") && has("NotBestEffort") || has("Terminating") && has("NotTerminating")
}

fn scopes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all: Vec<&str> = texts(spec, "scopes").collect();
    if all.is_empty() {
        return;
    }
    let path = path.child("scopes");
    let shown = || get(spec, "scopes").clone();
    for scope in &all {
        if !SCOPES.contains(scope) {
            errors.invalid(&path, shown(), "unsupported scope");
        }
        let resources = entries(spec, "hard");
        let standard = |name: &str| quota_name(name).is_empty() && !name.contains('/');
        let mut resources = resources.filter(|(name, _)| standard(name));
        if resources.any(|(name, _)| !is_applicable(scope, name)) {
            errors.invalid(&path, shown(), "unsupported scope applied to resource");
        }
    }
    if conflict(&all) {
        errors.invalid(&path, shown(), "conflicting scopes");
    }
}

fn selector(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rules = list(get(spec, "scopeSelector"), "matchExpressions");
    let under = path.child("scopeSelector");
    let path = under.child("matchExpressions");
    let mut scopes = Vec::new();
    for rule in rules {
        let (scope, operator) = (text(rule, "scopeName"), text(rule, "operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        let standard = |name: &str| quota_name(name).is_empty() && !name.contains('/');
        for (name, _) in entries(spec, "hard").filter(|(name, _)| standard(name)) {
            if !is_applicable(scope, name) {
                let why = "unsupported scope applied to resource";
                errors.invalid(&under, get(spec, "scopeSelector").clone(), why);
            }
        }
        if PLAIN.contains(&scope) && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                       ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                       ResourceQuotaScopeNotBestEffort or \
                       ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.child("operator"), operator, why);
        }
        let values = list(rule, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope \
                           selector";
                errors.required(&path.child("values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope \
                           selector";
                errors.invalid(&path.child("values"), get(rule, "values").clone(), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.invalid(&path.child("operator"), other, "not a valid selector operator");
            }
        }
        scopes.push(scope);
    }
    if conflict(&scopes) {
        errors.invalid(&under, get(spec, "scopeSelector").clone(), "conflicting scopes");
    }
}

/// A changed ResourceQuota: its scopes stay.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    create(new, errors);
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    let sorted = |spec: &Value| {
        let mut all: Vec<String> = texts(spec, "scopes").map(str::to_owned).collect();
        all.sort();
        all
    };
    if sorted(now) != sorted(before) {
        let path = Path::new("spec");
        errors.invalid(&path.child("scopes"), get(now, "scopes").clone(), "field is immutable");
    }
}
