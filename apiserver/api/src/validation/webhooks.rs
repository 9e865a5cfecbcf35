//! Webhook configurations. What their CEL expressions say is checked where CEL is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    check::{Errors, Path, get, has, int, list, text, texts},
    selectors::{Strictness, label_selector},
};
use crate::meta;

/// Versions of the review that the server speaks.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// A MutatingWebhookConfiguration.
pub(super) fn mutating(object: &Value, errors: &mut Errors) {
    webhooks(object, true, errors);
}

/// A ValidatingWebhookConfiguration.
pub(super) fn validating(object: &Value, errors: &mut Errors) {
    webhooks(object, false, errors);
}

/// A changed MutatingWebhookConfiguration.
pub(super) fn mutating_update(new: &Value, _old: &Value, errors: &mut Errors) {
    mutating(new, errors);
}

/// A changed ValidatingWebhookConfiguration.
pub(super) fn validating_update(new: &Value, _old: &Value, errors: &mut Errors) {
    validating(new, errors);
}

fn webhooks(object: &Value, mutating: bool, errors: &mut Errors) {
    let path = Path::new("webhooks");
    let mut names = BTreeSet::new();
    for (at, hook) in list(object, "webhooks").iter().enumerate() {
        let path = path.index(at);
        webhook(hook, mutating, &path, errors);
        versions(hook, &path, errors);
        let name = text(hook, "name");
        if !name.is_empty() && !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

fn versions(hook: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all: Vec<&str> = texts(hook, "admissionReviewVersions").collect();
    let path = path.child("admissionReviewVersions");
    if all.is_empty() {
        errors.required(&path, "must specify one of v1, v1beta1");
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, version) in all.iter().enumerate() {
        if !seen.insert(*version) {
            errors.invalid(&path.index(at), *version, "duplicate version");
            continue;
        }
        errors.complaints(&path.index(at), version, meta::dns1035_label(version));
    }
    if !all.iter().any(|version| VERSIONS.contains(version)) {
        let value = get(hook, "admissionReviewVersions").clone();
        errors.invalid(&path, value, "must include at least one of v1, v1beta1");
    }
}

fn webhook(hook: &Value, mutating: bool, path: &Path<'_>, errors: &mut Errors) {
    qualified_domain(text(hook, "name"), &path.child("name"), errors);
    let rules = path.child("rules");
    for (at, rule) in list(hook, "rules").iter().enumerate() {
        self::rule(rule, &rules.index(at), errors);
    }
    for (key, known) in
        [("failurePolicy", ["Fail", "Ignore"]), ("matchPolicy", ["Equivalent", "Exact"])]
    {
        if let Some(value) = get(hook, key).as_str() {
            errors.one_of(&path.child(key), value, &known);
        }
    }
    let effects = path.child("sideEffects");
    let known = ["None", "NoneOnDryRun"];
    match get(hook, "sideEffects").as_str() {
        None => errors.required(&effects, "must specify one of None, NoneOnDryRun"),
        Some(value) => errors.one_of(&effects, value, &known),
    }
    if let Some(seconds) = int(hook, "timeoutSeconds").filter(|s| !(1..=30).contains(s)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, why);
    }
    for key in ["namespaceSelector", "objectSelector"] {
        label_selector(get(hook, key), &path.child(key), Strictness::default(), errors);
    }
    if mutating && let Some(policy) = get(hook, "reinvocationPolicy").as_str() {
        errors.one_of(&path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
    }
    client(get(hook, "clientConfig"), &path.child("clientConfig"), errors);
    super::admission_policies::conditions(hook, path, errors);
}

/// A DNS name of three labels at least.
fn qualified_domain(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let complaints = meta::dns1123_subdomain(name);
    if !complaints.is_empty() {
        errors.complaints(path, name, complaints);
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.invalid(path, name, why);
    }
}

/// Which requests a webhook or policy is about.
pub(super) fn rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let operations = list(rule, "operations");
    let under = path.child("operations");
    if operations.is_empty() {
        errors.required(&under, "");
    }
    let has_all = |key: &str| texts(rule, key).any(|text| text == "*");
    if operations.len() > 1 && has_all("operations") {
        let why = "if '*' is present, must not specify other operations";
        errors.invalid(&under, get(rule, "operations").clone(), why);
    }
    let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (at, operation) in texts(rule, "operations").enumerate() {
        errors.one_of(&under.index(at), operation, &known);
    }
    for (key, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let under = path.child(key);
        if list(rule, key).is_empty() {
            errors.required(&under, "");
        }
        if list(rule, key).len() > 1 && has_all(key) {
            let why = format!("if '*' is present, must not specify other {what}");
            errors.invalid(&under, get(rule, key).clone(), &why);
        }
        for (at, value) in texts(rule, key).enumerate() {
            if key == "apiVersions" && value.is_empty() {
                errors.required(&under.index(at), "");
            }
        }
    }
    let under = path.child("resources");
    if list(rule, "resources").is_empty() {
        errors.required(&under, "");
    }
    for (at, value) in texts(rule, "resources").enumerate() {
        if value.is_empty() {
            errors.required(&under.index(at), "");
        }
    }
    if let Some(scope) = get(rule, "scope").as_str() {
        errors.one_of(&path.child("scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

fn client(config: &Value, path: &Path<'_>, errors: &mut Errors) {
    match (get(config, "url").as_str(), has(config, "service")) {
        (None, false) | (Some(_), true) => {
            errors.required(path, "exactly one of url or service is required");
        }
        (Some(url), false) => self::url(url, &path.child("url"), errors),
        (None, true) => service(get(config, "service"), &path.child("service"), errors),
    }
}

fn url(url: &str, path: &Path<'_>, errors: &mut Errors) {
    let form = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{form}");
        errors.invalid(path, scheme, &why);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() || host.is_empty() {
        errors.invalid(path, "", &format!("host must be specified{form}"));
    }
    if let Some((user, _)) = authority.rsplit_once('@') {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = tail.split_once('#') {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    let query = tail.split('#').next().and_then(|t| t.split_once('?')).map(|(_, query)| query);
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn service(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    for key in ["name", "namespace"] {
        if text(service, key).is_empty() {
            errors.required(&path.child(key), "");
        }
    }
    let port = int(service, "port").unwrap_or(443);
    if !(1..=65_535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&path.child("port"), port, why);
    }
    let Some(value) = get(service, "path").as_str() else { return };
    let at = path.child("path");
    if value == "/" || value.is_empty() {
        return;
    }
    if value == "//" {
        errors.invalid(&at, value, "segment[0] may not be empty");
        return;
    }
    if !value.starts_with('/') {
        errors.invalid(&at, value, "must start with a '/'");
    }
    let bare = value.get(1..).unwrap_or_default();
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    for (index, segment) in bare.split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(&at, value, &format!("segment[{index}] may not be empty"));
            continue;
        }
        for why in meta::dns1123_subdomain(segment) {
            errors.invalid(&at, value, &format!("segment[{index}]: {why}"));
        }
    }
}
