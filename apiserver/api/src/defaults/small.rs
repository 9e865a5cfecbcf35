//! Kinds with a default or two.

use serde_json::Value;

use super::edit::{child, items, made, put, put_zero, text};

/// The group of roles.
const RBAC: &str = "rbac.authorization.k8s.io";

/// A RoleBinding or ClusterRoleBinding.
pub(super) fn role_binding(object: &mut Value) {
    if let Some(role) = child(object, "roleRef") {
        put_zero(role, "apiGroup", RBAC);
    }
    for subject in items(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            put_zero(subject, "apiGroup", RBAC);
        }
    }
}

/// A PriorityClass.
pub(super) fn priority_class(object: &mut Value) {
    put(object, "preemptionPolicy", "PreemptLowerPriority");
}

/// An APIService.
pub(super) fn api_service(object: &mut Value) {
    let service = child(object, "spec").and_then(|spec| child(spec, "service"));
    if let Some(service) = service {
        put(service, "port", 443);
    }
}

/// A TokenRequest: an hour.
pub(super) fn token_request(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        put(spec, "expirationSeconds", 3600);
    }
}

/// A CustomResourceDefinition: names follow from the kind.
pub(super) fn custom_resource_definition(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    if let Some(names) = child(spec, "names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            put_zero(names, "singular", kind.to_lowercase());
            put_zero(names, "listKind", format!("{kind}List"));
        }
    }
    let Some(conversion) = made(spec, "conversion") else { return };
    put_zero(conversion, "strategy", "None");
    let hook = child(conversion, "webhook").and_then(|hook| child(hook, "clientConfig"));
    if let Some(service) = hook.and_then(|config| child(config, "service")) {
        put(service, "port", 443);
    }
}
