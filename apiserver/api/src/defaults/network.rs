//! Endpoints, EndpointSlices, NetworkPolicies, IngressClasses.

use serde_json::{Value, json};

use super::edit::{child, is_empty, items, put, put_zero};

/// Endpoints.
pub(super) fn endpoints(object: &mut Value) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            put_zero(port, "protocol", "TCP");
        }
    }
}

/// An EndpointSlice.
pub(super) fn endpoint_slice(object: &mut Value) {
    for port in items(object, "ports") {
        put(port, "name", "");
        put(port, "protocol", "TCP");
    }
}

/// A NetworkPolicy: it is about what comes in, and about what goes out if it says so.
pub(super) fn policy(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    for key in ["ingress", "egress"] {
        for rule in items(spec, key) {
            for port in items(rule, "ports") {
                put(port, "protocol", "TCP");
            }
        }
    }
    if is_empty(spec, "policyTypes") {
        let both = !is_empty(spec, "egress");
        spec["policyTypes"] = if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

/// An IngressClass.
pub(super) fn ingress_class(object: &mut Value) {
    let parameters = child(object, "spec").and_then(|spec| child(spec, "parameters"));
    if let Some(parameters) = parameters {
        put(parameters, "scope", "Cluster");
    }
}
