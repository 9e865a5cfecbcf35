//! Requests of a whole pod: what its containers ask for in sum, or its own limits.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::edit::{child, items, made, put};
use crate::quantity::Quantity;

/// Resources that a pod as a whole can have.
fn is_supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Fills `resources.requests` and hugepage limits of a pod that has resources of its own.
pub(super) fn fill(spec: &mut Value) {
    if child(spec, "resources").is_none() {
        return;
    }
    let has = |spec: &Value, what: &str| {
        let map = spec.pointer(&format!("/resources/{what}")).and_then(Value::as_object);
        map.is_some_and(|map| !map.is_empty())
    };
    if !has(spec, "limits") && !has(spec, "requests") {
        return;
    }
    huge_page_limits(spec);
    if !has(spec, "limits") {
        return;
    }
    requests(spec);
}

/// Hugepages can't be overcommitted: a request is a limit.
fn huge_page_limits(spec: &mut Value) {
    let Some(resources) = child(spec, "resources") else { return };
    let requests = resources.get("requests").and_then(Value::as_object).cloned();
    for (name, amount) in requests.into_iter().flatten() {
        if name.starts_with("hugepages-")
            && let Some(limits) = made(resources, "limits")
        {
            put(limits, &name, amount);
        }
    }
}

fn requests(spec: &mut Value) {
    let sums = sums(spec, "requests");
    let Some(resources) = child(spec, "resources") else { return };
    let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut wanted: Map<String, Value> =
        resources.get("requests").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, sum) in sums.into_iter().filter(|(name, _)| !name.starts_with("hugepages-")) {
        wanted.entry(name).or_insert_with(|| sum.to_string().into());
    }
    for (name, limit) in limits.into_iter().filter(|(name, _)| is_supported(name)) {
        wanted.entry(name).or_insert(limit);
    }
    if !wanted.is_empty() {
        resources["requests"] = Value::Object(wanted);
    }
}

/// What all containers ask for: the running ones in sum, or one that initializes if that is more.
fn sums(spec: &mut Value, what: &str) -> BTreeMap<String, Quantity> {
    let mut total = BTreeMap::new();
    for container in items(spec, "containers") {
        for (name, amount) in amounts(container, what) {
            add(&mut total, name, amount);
        }
    }
    let mut sidecars: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut most: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in items(spec, "initContainers") {
        let sidecar = container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
        let mut held = sidecars.clone();
        for (name, amount) in amounts(container, what) {
            add(&mut held, name.clone(), amount);
            if sidecar {
                add(&mut total, name.clone(), amount);
                add(&mut sidecars, name, amount);
            }
        }
        for (name, amount) in held {
            let at = most.entry(name).or_insert(amount);
            *at = (*at).max(amount);
        }
    }
    for (name, amount) in most {
        let at = total.entry(name).or_insert(amount);
        *at = (*at).max(amount);
    }
    total
}

fn add(map: &mut BTreeMap<String, Quantity>, name: String, amount: Quantity) {
    let at = map.entry(name).or_default();
    *at = at.plus(amount);
}

fn amounts(container: &Value, what: &str) -> Vec<(String, Quantity)> {
    let map = container.pointer(&format!("/resources/{what}")).and_then(Value::as_object);
    let parsed = map.into_iter().flatten().filter_map(|(name, amount)| {
        let amount = amount.as_str()?.parse().ok()?;
        is_supported(name).then(|| (name.clone(), amount))
    });
    parsed.collect()
}
