//! Roles and bindings.

use serde_json::Value;

use super::check::{Errors, Path, get, list, text};
use crate::meta;

/// The group of roles.
const GROUP: &str = "rbac.authorization.k8s.io";

/// A Role.
pub(super) fn role(object: &Value, errors: &mut Errors) {
    rules(object, true, errors);
}

/// A ClusterRole.
pub(super) fn cluster_role(object: &Value, errors: &mut Errors) {
    rules(object, false, errors);
    let path = Path::new("aggregationRule");
    let path = path.child("clusterRoleSelectors");
    let rule = get(object, "aggregationRule");
    if !rule.is_null() && list(rule, "clusterRoleSelectors").is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.required(&path, why);
    }
    for (at, selector) in list(rule, "clusterRoleSelectors").iter().enumerate() {
        let strictness = super::selectors::Strictness { any_value: false };
        super::selectors::label_selector(selector, &path.index(at), strictness, errors);
    }
}

fn rules(object: &Value, namespaced: bool, errors: &mut Errors) {
    let path = Path::new("rules");
    for (at, rule) in list(object, "rules").iter().enumerate() {
        let path = path.index(at);
        if list(rule, "verbs").is_empty() {
            errors.late(|errors| errors.required(&path.child("verbs"), ""));
        }
        let urls = list(rule, "nonResourceURLs");
        if !urls.is_empty() {
            let at = path.child("nonResourceURLs");
            if namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.invalid(&at, get(rule, "nonResourceURLs").clone(), why);
            }
            let others = ["apiGroups", "resources", "resourceNames"];
            if others.iter().any(|key| !list(rule, key).is_empty()) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&at, get(rule, "nonResourceURLs").clone(), why);
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            let why = "resource rules must supply at least one api group";
            errors.required(&path.child("apiGroups"), why);
        }
        if list(rule, "resources").is_empty() {
            let why = "resource rules must supply at least one resource";
            errors.required(&path.child("resources"), why);
        }
    }
}

/// A changed Role.
pub(super) fn role_update(new: &Value, _old: &Value, errors: &mut Errors) {
    role(new, errors);
}

/// A changed ClusterRole.
pub(super) fn cluster_role_update(new: &Value, _old: &Value, errors: &mut Errors) {
    cluster_role(new, errors);
}

/// A RoleBinding.
pub(super) fn binding(object: &Value, errors: &mut Errors) {
    any_binding(object, &["Role", "ClusterRole"], true, errors);
}

/// A ClusterRoleBinding.
pub(super) fn cluster_binding(object: &Value, errors: &mut Errors) {
    any_binding(object, &["ClusterRole"], false, errors);
}

fn any_binding(object: &Value, kinds: &[&str], namespaced: bool, errors: &mut Errors) {
    let role = get(object, "roleRef");
    let path = Path::new("roleRef");
    if text(role, "apiGroup") != GROUP {
        errors.not_supported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]);
    }
    errors.one_of(&path.child("kind"), text(role, "kind"), kinds);
    match text(role, "name") {
        "" => {}
        name => errors.complaints(&path.child("name"), name, meta::path_segment(name)),
    }
    let path = Path::new("subjects");
    for (at, subject) in list(object, "subjects").iter().enumerate() {
        self::subject(subject, namespaced, &path.index(at), errors);
    }
    if text(role, "name").is_empty() {
        let path = Path::new("roleRef");
        errors.late(|errors| errors.required(&path.child("name"), ""));
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path<'_>, errors: &mut Errors) {
    let name = text(subject, "name");
    if name.is_empty() {
        errors.late(|errors| errors.required(&path.child("name"), ""));
    }
    let group = text(subject, "apiGroup");
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.complaints(&path.child("name"), name, meta::dns1123_subdomain(name));
            }
            errors.one_of(&path.child("apiGroup"), group, &[""]);
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        "User" | "Group" => errors.one_of(&path.child("apiGroup"), group, &[GROUP]),
        other => {
            let known = ["ServiceAccount", "User", "Group"];
            errors.not_supported(&path.child("kind"), other, &known);
        }
    }
}

fn role_stays(new: &Value, old: &Value, errors: &mut Errors) {
    let role = get(new, "roleRef");
    if role != get(old, "roleRef") {
        let go = |key: &str| Value::from(text(role, key));
        let shown = format!(
            "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
            go("apiGroup"),
            go("kind"),
            go("name")
        );
        errors.invalid_raw(&Path::new("roleRef"), shown, "field is immutable");
    }
}

/// A changed RoleBinding.
pub(super) fn binding_update(new: &Value, old: &Value, errors: &mut Errors) {
    binding(new, errors);
    role_stays(new, old, errors);
}

/// A changed ClusterRoleBinding.
pub(super) fn cluster_binding_update(new: &Value, old: &Value, errors: &mut Errors) {
    cluster_binding(new, errors);
    role_stays(new, old, errors);
}
