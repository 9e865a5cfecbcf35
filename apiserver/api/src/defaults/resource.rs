//! Device claims, templates and slices.

use serde_json::Value;

use super::edit::{child, items, put, put_zero, text};
use crate::meta::now_rfc3339;

/// A ResourceClaim.
pub(super) fn claim(object: &mut Value) {
    if let Some(spec) = child(object, "spec") {
        claim_spec(spec);
    }
    let devices = child(object, "status").and_then(|status| child(status, "allocation"));
    let devices = devices.and_then(|allocation| child(allocation, "devices"));
    for result in devices.map(|devices| items(devices, "results")).into_iter().flatten() {
        items(result, "tolerations").iter_mut().for_each(toleration);
    }
}

/// A ResourceClaimTemplate.
pub(super) fn template(object: &mut Value) {
    let claim = child(object, "spec").and_then(|spec| child(spec, "spec"));
    if let Some(claim) = claim {
        claim_spec(claim);
    }
}

fn claim_spec(spec: &mut Value) {
    let Some(devices) = child(spec, "devices") else { return };
    for request in items(devices, "requests") {
        if let Some(exactly) = child(request, "exactly") {
            amount(exactly);
        }
        items(request, "firstAvailable").iter_mut().for_each(amount);
    }
}

fn amount(request: &mut Value) {
    put_zero(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        put_zero(request, "count", 1);
    }
    items(request, "tolerations").iter_mut().for_each(toleration);
}

fn toleration(toleration: &mut Value) {
    put_zero(toleration, "operator", "Equal");
}

/// A ResourceSlice: taints know when they were added.
pub(super) fn slice(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    for device in items(spec, "devices") {
        for taint in items(device, "taints") {
            put(taint, "timeAdded", now_rfc3339());
        }
    }
}

/// A DeviceTaintRule.
pub(super) fn taint_rule(object: &mut Value) {
    let taint = child(object, "spec").and_then(|spec| child(spec, "taint"));
    if let Some(taint) = taint {
        put(taint, "timeAdded", now_rfc3339());
    }
}
