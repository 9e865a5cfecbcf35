//! Resources of containers and pods: names, amounts, requests within limits, device claims.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, entries, get, has, list, text},
    Context,
};
use crate::{meta, quantity::Quantity};

/// Resource names without a domain that containers may have.
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Resource names without a domain that mean anything at all.
const STANDARD: [&str; 28] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
    "attachable-volumes-aws-ebs",
    "endpoints",
    "namespaces",
    "nodes",
    "limitranges",
    "podtemplates",
    "serviceaccounts",
    "bindings",
];

/// Complaints about a resource's name.
pub(in crate::validation) fn resource_name(name: &str) -> Vec<String> {
    let complaints = meta::qualified_name(name);
    if !complaints.is_empty() {
        return complaints;
    }
    if !name.contains('/') && !is_standard(name) {
        return vec!["must be a standard resource type or fully qualified".to_owned()];
    }
    Vec::new()
}

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// Complaints about a name as a container's resource.
pub(in crate::validation) fn container_resource_name(name: &str) -> Vec<String> {
    let mut out = resource_name(name);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !name.starts_with("hugepages-") {
            out.push("must be a standard resource for containers".to_owned());
        }
    } else if !is_native(name) && !is_extended(name) {
        out.push("doesn't follow extended resource name standard".to_owned());
    }
    out
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && meta::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Checks an amount of a resource: not negative, whole where parts make no sense.
pub(in crate::validation) fn amount(
    name: &str,
    value: &Value,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let Some(quantity) = parsed(value) else { return };
    if quantity.sign() < 0 {
        let why = "must be greater than or equal to 0";
        errors.invalid(path, value.clone(), why);
    }
    let whole = is_extended(name)
        || matches!(
            name,
            "pods"
                | "services"
                | "replicationcontrollers"
                | "resourcequotas"
                | "secrets"
                | "configmaps"
                | "persistentvolumeclaims"
                | "services.nodeports"
                | "services.loadbalancers"
        );
    if whole && !quantity.is_exact(0) {
        errors.invalid(path, value.clone(), "must be an integer");
    }
}

/// Checks that an amount of huge pages is a number of pages.
pub(in crate::validation) fn huge_page(
    name: &str,
    value: &Value,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let size = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    let (Some(size), Some(amount)) = (size, parsed(value)) else { return };
    let whole = size.value() > 0 && amount.value() % size.value() == 0;
    if !whole {
        let shown = value.as_str().unwrap_or_default();
        let why = format!("{shown} is not positive integer multiple of {name}");
        errors.invalid(path, value.clone(), &why);
    }
}

fn parsed(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

/// A container's resources.
pub(super) fn requirements(
    ctx: &Context<'_>,
    resources: &Value,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let (limits, requests) = (get(resources, "limits"), get(resources, "requests"));
    let (mut cpu_or_memory, mut huge) = (false, false);
    let under = path.child("limits");
    for (name, value) in entries(resources, "limits") {
        let path = under.key(name);
        errors.complaints(&path, name, container_resource_name(name));
        amount(name, value, &path, errors);
        if name.starts_with("hugepages-") {
            huge = true;
            huge_page(name, value, &path, errors);
        }
        cpu_or_memory |= matches!(name.as_str(), "cpu" | "memory");
    }
    let under = path.child("requests");
    for (name, value) in entries(resources, "requests") {
        let path = under.key(name);
        errors.complaints(&path, name, container_resource_name(name));
        amount(name, value, &path, errors);
        within_limit(name, value, get(limits, name), &under, errors);
        if name.starts_with("hugepages-") {
            huge = true;
            huge_page(name, value, &path, errors);
        }
        cpu_or_memory |= matches!(name.as_str(), "cpu" | "memory");
    }
    // Without a request of its own, a limit that can't be exceeded is one.
    missing_limits(limits, requests, &path.child("limits"), errors);
    if huge && !cpu_or_memory {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
    container_claims(ctx, resources, path, errors);
}

fn within_limit(name: &str, value: &Value, limit: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (Some(request), Some(limit)) = (parsed(value), parsed(limit)) else { return };
    let fixed = is_extended(name) || name.starts_with("hugepages-");
    if fixed && request != limit {
        let why = format!("must be equal to {name} limit of {limit}");
        errors.invalid(path, value.clone(), &why);
    } else if !fixed && request > limit {
        let why = format!("must be less than or equal to {name} limit of {limit}");
        errors.invalid(path, value.clone(), &why);
    }
}

fn missing_limits(limits: &Value, requests: &Value, path: &Path<'_>, errors: &mut Errors) {
    let names = requests.as_object().into_iter().flat_map(serde_json::Map::keys);
    for name in names {
        let fixed = is_extended(name) || name.starts_with("hugepages-");
        if fixed && !has(limits, name) {
            errors.required(path, "Limit must be set for non overcommitable resources");
        }
    }
}

fn container_claims(ctx: &Context<'_>, resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("claims");
    let mut seen = BTreeSet::new();
    for (at, claim) in list(resources, "claims").iter().enumerate() {
        let path = path.index(at);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(&path, "");
        } else {
            if !request.is_empty() {
                let complaints = meta::dns1123_label(request);
                errors.complaints(&path.child("request"), request, complaints);
            }
            // A whole claim and a part of it exclude each other.
            let part = format!("{name}/");
            let key = if request.is_empty() { name.to_owned() } else { format!("{part}{request}") };
            let overlaps = seen.iter().any(|other: &String| {
                *other == key || other == name || request.is_empty() && other.starts_with(&part)
            });
            if overlaps {
                errors.duplicate(&path, key.clone());
            }
            seen.insert(key);
            if !ctx.claims.contains(name) {
                let known: Vec<&str> = ctx.claims.iter().copied().collect();
                let why = if known.is_empty() {
                    "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
                } else {
                    let known = known.join(", ");
                    format!("must be one of the names in pod.spec.resourceClaims: {known}")
                };
                errors.not_found(&path, name, &why);
            }
        }
    }
}

/// A pod's device claims.
pub(super) fn claims(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("resourceClaims");
    let mut seen = BTreeSet::new();
    for (at, claim) in list(ctx.spec, "resourceClaims").iter().enumerate() {
        let path = path.index(at);
        let name = text(claim, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            errors.complaints(&path.child("name"), name, meta::dns1123_label(name));
        }
        let (direct, template) =
            (has(claim, "resourceClaimName"), has(claim, "resourceClaimTemplateName"));
        if direct == template {
            let why = if direct {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            } else {
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            };
            let go = |key: &str| get(claim, key).to_string();
            let value = format!(
                "{{\"Name\":{},\"ResourceClaimName\":{},\"ResourceClaimTemplateName\":{}}}",
                Value::from(name),
                go("resourceClaimName"),
                go("resourceClaimTemplateName")
            );
            errors.invalid_raw(&path, value, why);
        }
        for key in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = get(claim, key).as_str() {
                errors.complaints(&path.child(key), name, meta::dns1123_subdomain(name));
            }
        }
    }
}

/// Resources of the pod as a whole.
pub(super) fn pod_level(ctx: &Context<'_>, path: &Path<'_>, errors: &mut Errors) {
    let resources = get(ctx.spec, "resources");
    if resources.is_null() {
        return;
    }
    let path = path.child("resources");
    if !list(resources, "claims").is_empty() {
        let why = "claims may not be set for Resources at pod-level";
        errors.forbidden(&path.child("claims"), why);
    }
    let supported = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    for key in ["limits", "requests"] {
        let under = path.child(key);
        for (name, _) in entries(resources, key) {
            if !supported(name) {
                errors.not_supported(
                    &under.key(name),
                    name.as_str(),
                    &["cpu", "hugepages-", "memory"],
                );
            }
        }
    }
    requirements(ctx, resources, &path, errors);
    aggregate(ctx, resources, &path, errors);
}

/// The pod must have what its containers ask for, and no container may have more than the pod.
fn aggregate(ctx: &Context<'_>, resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let under = path.child("requests");
    for (name, value) in entries(resources, "requests") {
        let mut sum = Quantity::default();
        for container in list(ctx.spec, "containers") {
            let asked = get(get(container, "resources"), "requests");
            sum = sum.plus(parsed(get(asked, name)).unwrap_or_default());
        }
        if parsed(value).is_some_and(|request| request < sum) {
            let why =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&under.key(name), value.clone(), &why);
        }
    }
    let under = path.child("containers");
    for (at, container) in list(ctx.spec, "containers").iter().enumerate() {
        let limits = get(get(container, "resources"), "limits");
        for (name, most) in entries(resources, "limits") {
            let (Some(limit), Some(most)) = (parsed(get(limits, name)), parsed(most)) else {
                continue;
            };
            if limit > most {
                let why = format!("must be less than or equal to pod limits of {most}");
                let value = get(limits, name).clone();
                errors.invalid(&under.index(at).key(name).child("limits"), value, &why);
            }
        }
    }
}
