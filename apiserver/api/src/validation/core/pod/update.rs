//! Changes of a pod beyond what may change at all: deadlines only shrink, gates and tolerations go
//! one way.

use serde_json::Value;

use super::{
    super::super::check::{Errors, Path, at, get, has, int, list, text},
    MIRROR,
};
use crate::meta;

/// A changed spec.
pub(super) fn spec(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    deadline(new, old, &path, errors);
    tolerations(new, old, &path, errors);
    gates(new, old, &path, errors);
}

fn deadline(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.child("activeDeadlineSeconds");
    if let Some(seconds) = int(new, "activeDeadlineSeconds").filter(|seconds| *seconds < 0) {
        errors.in_range(&at, seconds, 0, i64::from(i32::MAX));
    }
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(new), Some(old)) if new > old => {
            errors.invalid(&at, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.invalid(&at, Value::Null, why);
        }
        _ => {}
    }
}

/// Tolerations may be added, or last longer or shorter.
fn tolerations(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let bare = |toleration: &Value| {
        let mut copy = toleration.clone();
        if let Some(map) = copy.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        copy
    };
    let now: Vec<Value> = list(new, "tolerations").iter().map(bare).collect();
    if list(old, "tolerations").iter().any(|old| !now.contains(&bare(old))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(&path.child("tolerations"), why);
    }
}

fn gates(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let before: Vec<&str> = list(old, "schedulingGates").iter().map(|g| text(g, "name")).collect();
    let path = path.child("schedulingGates");
    for (index, gate) in list(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !before.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.index(index).child("name"), &why);
        }
    }
}

/// A mirror of a static pod stays one, and nothing becomes one.
pub(super) fn mirror(new: &Value, old: &Value, errors: &mut Errors) {
    let mark = |pod: &Value| at(pod, "/metadata/annotations").get(MIRROR).cloned();
    let (now, before) = (mark(new), mark(old));
    let why = match (&now, &before) {
        (None, None) => return,
        (Some(now), Some(before)) if now == before => return,
        (Some(_), None) => "may not add mirror pod annotation",
        _ => "may not remove or update mirror pod annotation",
    };
    let metadata = Path::new("metadata");
    let path = metadata.child("annotations");
    errors.forbidden(&path.key(MIRROR), why);
}

/// A changed status.
pub(super) fn status(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "status") == get(old, "status") {
        return;
    }
    let path = Path::new("status");
    let (class, before) = (at(new, "/status/qosClass"), at(old, "/status/qosClass"));
    if has(get(old, "status"), "qosClass") && class != before {
        errors.invalid(&path.child("qosClass"), class.clone(), "field is immutable");
    }
    let known: Vec<&str> =
        list(get(new, "spec"), "resourceClaims").iter().map(|c| text(c, "name")).collect();
    let path = path.child("resourceClaimStatuses");
    for (index, claim) in list(get(new, "status"), "resourceClaimStatuses").iter().enumerate() {
        let path = path.index(index);
        let name = text(claim, "name");
        if !known.contains(&name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(&path.child("name"), name, why);
        }
        let claim_name = text(claim, "resourceClaimName");
        if !claim_name.is_empty() {
            let complaints = meta::dns1123_subdomain(claim_name);
            errors.complaints(&path.child("resourceClaimName"), claim_name, complaints);
        }
    }
}
