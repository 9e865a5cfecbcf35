//! The core group's kinds that are neither pods nor volumes.

use serde_json::{Value, json};

use super::{
    edit::{child, is_empty, is_zero, items, made, put, put_zero, text},
    pod,
};

/// Seconds that a client's affinity lasts.
const AFFINITY: i64 = 10_800;

/// A Service.
pub(super) fn service(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    put_zero(spec, "sessionAffinity", "None");
    put_zero(spec, "type", "ClusterIP");
    match text(spec, "sessionAffinity") {
        "None" => {
            if let Value::Object(map) = spec {
                map.remove("sessionAffinityConfig");
            }
        }
        "ClientIP" => {
            let config = made(spec, "sessionAffinityConfig");
            if let Some(client) = config.and_then(|config| made(config, "clientIP")) {
                put(client, "timeoutSeconds", AFFINITY);
            }
        }
        _ => {}
    }
    for port in items(spec, "ports") {
        put_zero(port, "protocol", "TCP");
        if is_zero(port.get("targetPort")) {
            port["targetPort"] = port.get("port").cloned().unwrap_or_default();
        }
    }
    let kind = text(spec, "type").to_owned();
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !is_empty(spec, "externalIPs");
    if external {
        put_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        put(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind != "LoadBalancer" {
        return;
    }
    put(spec, "allocateLoadBalancerNodePorts", true);
    let balancer = child(object, "status").and_then(|status| child(status, "loadBalancer"));
    for entry in balancer.map(|balancer| items(balancer, "ingress")).into_iter().flatten() {
        if !text(entry, "ip").is_empty() {
            put(entry, "ipMode", "VIP");
        }
    }
}

/// A Namespace: its name is a label too.
pub(super) fn namespace(object: &mut Value) {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    if !is_zero(Some(&name)) {
        let labels = made(object, "metadata").and_then(|metadata| made(metadata, "labels"));
        if let Some(labels) = labels {
            labels["kubernetes.io/metadata.name"] = name;
        }
    }
    put(object, "status", json!({}));
    if let Some(status) = child(object, "status") {
        put_zero(status, "phase", "Active");
    }
}

/// A Node: what can be given out is what there is, until the agent says otherwise. Its first pod
/// range has a field of its own.
pub(super) fn node(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        mirror(spec, "podCIDR", "podCIDRs", None);
    }
    let Some(status) = child(object, "status") else { return };
    if status.get("allocatable").is_none_or(Value::is_null)
        && let Some(capacity) = status.get("capacity").cloned().filter(Value::is_object)
    {
        status["allocatable"] = capacity;
    }
}

/// A Secret.
pub(super) fn secret(object: &mut Value) {
    put_zero(object, "type", "Opaque");
}

/// A ReplicationController: selector and labels follow the template's labels.
pub(super) fn replication_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    if let Some(labels) = labels.filter(|l| l.as_object().is_some_and(|map| !map.is_empty())) {
        if let Some(spec) = child(object, "spec")
            && is_empty(spec, "selector")
        {
            spec["selector"] = labels.clone();
        }
        labels_from(object, labels);
    }
    if let Some(spec) = child(object, "spec") {
        put(spec, "replicas", 1);
        pod::template_at(spec, "template");
    }
}

/// Gives an object without labels those of its template.
pub(super) fn labels_from(object: &mut Value, labels: Value) {
    if let Some(metadata) = made(object, "metadata")
        && is_empty(metadata, "labels")
    {
        metadata["labels"] = labels;
    }
}

/// A LimitRange: a container's default limit is the most, its default request the default limit,
/// or the least.
pub(super) fn limit_range(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    for item in items(spec, "limits") {
        if text(item, "type") != "Container" {
            continue;
        }
        for (from, to) in
            [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
        {
            let amounts = item.get(from).and_then(Value::as_object).cloned();
            for (name, amount) in amounts.into_iter().flatten() {
                if let Some(target) = made(item, to) {
                    put(target, &name, amount);
                }
            }
        }
    }
}

/// Keeps a field and the first of a list the same: a single one that differs makes the list. `key`
/// is the field of the list's items that holds the value, if they are objects.
pub(super) fn mirror(object: &mut Value, single: &str, many: &str, key: Option<&str>) {
    let one = text(object, single).to_owned();
    let first = object.get(many).and_then(|list| list.get(0));
    let first = match key {
        Some(key) => first.and_then(|item| item.get(key)),
        None => first,
    };
    let first = first.and_then(Value::as_str).unwrap_or_default().to_owned();
    if !one.is_empty() && one != first {
        object[many] = match key {
            Some(key) => {
                let mut item = serde_json::Map::new();
                item.insert(key.to_owned(), one.into());
                Value::Array(vec![Value::Object(item)])
            }
            None => vec![one].into(),
        };
    } else if one.is_empty() && !first.is_empty() {
        object[single] = first.into();
    }
}
