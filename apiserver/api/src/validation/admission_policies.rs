//! Admission policies and their bindings, but for what their CEL expressions say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    check::{Errors, Path, get, has, list, text, texts},
    selectors::{Strictness, label_selector},
    webhooks::rule,
};
use crate::meta;

/// Reasons that a policy may answer with.
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// Names that are no identifiers in CEL.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
/// Operations that a mutating policy may be about.
const MUTATED: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

fn is_identifier(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && !RESERVED.contains(&name)
}

/// A ValidatingAdmissionPolicy.
pub(super) fn validating(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    head(spec, &path, errors);
    conditions(spec, &path, errors);
    variables(spec, &path, errors);
    let (rules, audits) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if rules.is_empty() && audits.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), why);
        errors.required(&path.child("auditAnnotations"), why);
        return;
    }
    let under = path.child("validations");
    for (at, one) in rules.iter().enumerate() {
        validation(one, &under.index(at), errors);
    }
    let name = text(get(object, "metadata"), "name");
    let under = path.child("auditAnnotations");
    let mut keys = BTreeSet::new();
    for (at, one) in audits.iter().enumerate() {
        audit(one, name, &under.index(at), errors);
        let key = text(one, "key");
        if !keys.insert(key) && !key.is_empty() {
            let path = under.index(at);
            errors.duplicate(&path.child("key"), key);
        }
    }
}

fn head(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let failure = path.child("failurePolicy");
    match get(spec, "failurePolicy").as_str() {
        None => errors.required(&failure, ""),
        Some(policy) => errors.one_of(&failure, policy, &["Fail", "Ignore"]),
    }
    param_kind(get(spec, "paramKind"), &path.child("paramKind"), errors);
    let constraints = get(spec, "matchConstraints");
    let under = path.child("matchConstraints");
    if constraints.is_null() {
        errors.required(&under, "");
        return;
    }
    match_resources(constraints, &under, errors);
    if list(constraints, "resourceRules").is_empty() {
        errors.required(&under.child("resourceRules"), "");
    }
}

fn param_kind(kind: &Value, path: &Path<'_>, errors: &mut Errors) {
    if kind.is_null() {
        return;
    }
    let version = text(kind, "apiVersion");
    let at = path.child("apiVersion");
    if version.is_empty() {
        errors.required(&at, "");
    } else if version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {version}");
        errors.invalid(&at, version, &why);
    } else {
        let (group, version) = crate::facts::split_api_version(version);
        if !group.is_empty() {
            errors.complaints(&at, group, meta::dns1123_subdomain(group));
        }
        errors.complaints(&at, version, meta::dns1035_label(version));
    }
    let name = text(kind, "kind");
    let at = path.child("kind");
    if name.is_empty() {
        errors.required(&at, "");
        return;
    }
    let complaints = meta::dns1035_label(&name.to_lowercase());
    if !complaints.is_empty() {
        let why =
            format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
        errors.invalid(&at, name, &why);
    }
}

fn match_resources(resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = path.child("matchPolicy");
    match get(resources, "matchPolicy").as_str() {
        None => errors.required(&policy, ""),
        Some(value) => errors.one_of(&policy, value, &["Equivalent", "Exact"]),
    }
    for key in ["namespaceSelector", "objectSelector"] {
        let selector = get(resources, key);
        if selector.is_null() {
            errors.required(&path.child(key), "");
        }
        label_selector(selector, &path.child(key), Strictness::default(), errors);
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        let under = path.child(key);
        for (at, one) in list(resources, key).iter().enumerate() {
            let path = under.index(at);
            let mut seen = BTreeSet::new();
            let names = path.child("resourceNames");
            for (at, name) in texts(one, "resourceNames").enumerate() {
                errors.complaints(&names.index(at), name, meta::path_segment(name));
                if !seen.insert(name) {
                    errors.duplicate(&names.index(at), name);
                }
            }
            rule(one, &path, errors);
        }
    }
}

/// Names of conditions; their expressions are checked where CEL is.
pub(super) fn conditions(holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("matchConditions");
    let mut names = BTreeSet::new();
    for (at, one) in list(holder, "matchConditions").iter().enumerate() {
        let path = path.index(at);
        if text(one, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
        let name = text(one, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        errors.complaints(&path.child("name"), name, meta::qualified_name(name));
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

fn variables(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("variables");
    for (at, one) in list(spec, "variables").iter().enumerate() {
        let path = path.index(at);
        let name = text(one, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&path.child("name"), name, "must be a valid CEL identifier");
        }
        if text(one, "expression").trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        }
    }
}

fn validation(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(one, "expression").trim().is_empty() {
        errors.required(&path.child("expression"), "expression is not specified");
    }
    let message = text(one, "message");
    let at = path.child("message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&at, message, "must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&at, message, "must not contain line breaks");
    }
    if let Some(reason) = get(one, "reason").as_str() {
        errors.one_of(&path.child("reason"), reason, &REASONS);
    }
}

fn audit(one: &Value, policy: &str, path: &Path<'_>, errors: &mut Errors) {
    let key = format!("{policy}/{}", text(one, "key"));
    errors.complaints(&path.child("key"), &key, meta::qualified_name(&key));
    let expression = text(one, "valueExpression");
    if expression.trim().is_empty() {
        errors.required(&path.child("valueExpression"), "valueExpression is not specified");
    }
}

/// A MutatingAdmissionPolicy.
pub(super) fn mutating(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    head(spec, &path, errors);
    let constraints = path.child("matchConstraints");
    let rules = constraints.child("resourceRules");
    let known = |operation: &str| MUTATED.contains(&operation) || operation != "DELETE";
    for one in list(get(spec, "matchConstraints"), "resourceRules") {
        for operation in texts(one, "operations").filter(|operation| !known(operation)) {
            errors.not_supported(&rules.child("operations"), operation, &MUTATED);
        }
    }
    conditions(spec, &path, errors);
    variables(spec, &path, errors);
    let all = list(spec, "mutations");
    let under = path.child("mutations");
    if all.is_empty() {
        errors.required(&under, "mutations must contain at least one item");
    }
    for (at, one) in all.iter().enumerate() {
        mutation(one, &under.index(at), errors);
    }
    let policy = path.child("reinvocationPolicy");
    match text(spec, "reinvocationPolicy") {
        "" => errors.required(&policy, ""),
        value => errors.one_of(&policy, value, &["IfNeeded", "Never"]),
    }
}

fn mutation(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    let fields = [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];
    let kind = text(one, "patchType");
    let at = path.child("patchType");
    if kind.is_empty() {
        errors.required(&at, "");
        return;
    }
    if !fields.iter().any(|(name, _)| *name == kind) {
        errors.not_supported(&at, kind, &["ApplyConfiguration", "JSONPatch"]);
        return;
    }
    let (own, others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| *name == kind);
    for (name, field) in own.into_iter().chain(others) {
        let under = path.child(field);
        match (name == kind, has(one, field)) {
            (true, false) => {
                errors.required(&under, &format!("must be specified when patchType is {name}"));
            }
            (false, true) => {
                let why = format!("must not be specified when patchType is {kind}");
                errors.invalid(&under, format!("{{{field}}}"), &why);
            }
            (true, true) if text(get(one, field), "expression").trim().is_empty() => {
                errors.required(&under.child("expression"), "");
            }
            _ => {}
        }
    }
}

/// A ValidatingAdmissionPolicyBinding.
pub(super) fn validating_binding(object: &Value, errors: &mut Errors) {
    binding(object, errors);
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let path = path.child("validationActions");
    let all: Vec<&str> = texts(spec, "validationActions").collect();
    if all.is_empty() {
        errors.required(&path, "");
    }
    let mut seen = BTreeSet::new();
    for (at, action) in all.iter().enumerate() {
        errors.one_of(&path.index(at), action, &["Audit", "Deny", "Warn"]);
        if !seen.insert(*action) {
            errors.duplicate(&path.index(at), *action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure \
                   information in the API response and headers serves no purpose)";
        errors.invalid(&path, get(spec, "validationActions").clone(), why);
    }
}

/// A MutatingAdmissionPolicyBinding.
pub(super) fn binding(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    match text(spec, "policyName") {
        "" => errors.required(&path.child("policyName"), ""),
        name => errors.complaints(&path.child("policyName"), name, meta::dns1123_subdomain(name)),
    }
    param_ref(get(spec, "paramRef"), &path.child("paramRef"), errors);
    let resources = get(spec, "matchResources");
    if !resources.is_null() {
        match_resources(resources, &path.child("matchResources"), errors);
    }
}

fn param_ref(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    if reference.is_null() {
        return;
    }
    let name = text(reference, "name");
    match (name.is_empty(), has(reference, "selector")) {
        (true, false) => errors.required(path, "one of name or selector must be specified"),
        (false, true) => {
            for key in ["name", "selector"] {
                errors.forbidden(&path.child(key), "name and selector are mutually exclusive");
            }
        }
        (false, false) => {
            errors.complaints(&path.child("name"), name, meta::path_segment(name));
        }
        (true, true) => {
            let selector = get(reference, "selector");
            label_selector(selector, &path.child("selector"), Strictness::default(), errors);
        }
    }
    let at = path.child("parameterNotFoundAction");
    match get(reference, "parameterNotFoundAction").as_str() {
        None => errors.required(&at, ""),
        Some(action) => errors.one_of(&at, action, &["Deny", "Allow"]),
    }
}

/// A changed ValidatingAdmissionPolicy.
pub(super) fn validating_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        validating(new, errors);
    }
}

/// A changed MutatingAdmissionPolicy.
pub(super) fn mutating_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        mutating(new, errors);
    }
}

/// A changed ValidatingAdmissionPolicyBinding.
pub(super) fn validating_binding_update(new: &Value, _old: &Value, errors: &mut Errors) {
    validating_binding(new, errors);
}

/// A changed MutatingAdmissionPolicyBinding.
pub(super) fn binding_update(new: &Value, _old: &Value, errors: &mut Errors) {
    binding(new, errors);
}
