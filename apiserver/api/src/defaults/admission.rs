//! Webhook configurations and admission policies.

use serde_json::{Value, json};

use super::edit::{child, items, put, put_zero};

/// Seconds that a webhook may take.
const TIMEOUT: i64 = 10;

/// A MutatingWebhookConfiguration.
pub(super) fn mutating(object: &mut Value) {
    for hook in items(object, "webhooks") {
        webhook(hook);
        put(hook, "reinvocationPolicy", "Never");
    }
}

/// A ValidatingWebhookConfiguration.
pub(super) fn validating(object: &mut Value) {
    items(object, "webhooks").iter_mut().for_each(webhook);
}

fn webhook(hook: &mut Value) {
    put(hook, "failurePolicy", "Fail");
    put(hook, "matchPolicy", "Equivalent");
    put(hook, "namespaceSelector", json!({}));
    put(hook, "objectSelector", json!({}));
    put(hook, "timeoutSeconds", TIMEOUT);
    items(hook, "rules").iter_mut().for_each(rule);
    let service = child(hook, "clientConfig").and_then(|config| child(config, "service"));
    if let Some(service) = service {
        put(service, "port", 443);
    }
}

fn rule(rule: &mut Value) {
    put(rule, "scope", "*");
}

/// A ValidatingAdmissionPolicy or MutatingAdmissionPolicy.
pub(super) fn policy(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "failurePolicy", "Fail");
    if let Some(resources) = child(spec, "matchConstraints") {
        match_resources(resources);
    }
}

/// A binding of either.
pub(super) fn binding(object: &mut Value) {
    let resources = child(object, "spec").and_then(|spec| child(spec, "matchResources"));
    if let Some(resources) = resources {
        match_resources(resources);
    }
}

fn match_resources(resources: &mut Value) {
    put_zero(resources, "matchPolicy", "Equivalent");
    put(resources, "namespaceSelector", json!({}));
    put(resources, "objectSelector", json!({}));
    for key in ["resourceRules", "excludeResourceRules"] {
        items(resources, key).iter_mut().for_each(rule);
    }
}
