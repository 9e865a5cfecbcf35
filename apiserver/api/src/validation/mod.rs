//! What can't be, per kind: complete objects in, complaints out, in the original's words and order.
//!
//! Metadata is checked for every kind; beyond it a row of [`VALIDATORS`] names what a kind checks
//! when an object is made and when it changes. What a change may touch at all is for some kinds the
//! server's strategy (see `apiserver/server/src/kinds`), and CEL expressions are checked where CEL
//! is. The reviews of the groups authentication and authorization are not stored and not checked.
//!
//! Upstream reports some values with the names of its own Go fields; these are spelled out by hand.

mod addresses;
mod admission_policies;
mod apps;
mod batch;
mod batch_policies;
mod batch_status;
mod certificates;
mod check;
mod conditions;
mod core;
mod cron;
mod device_slices;
mod devices;
mod flow;
mod ingress;
mod metadata;
mod network;
mod rbac;
mod rows;
mod scale;
mod selectors;
mod signer;
mod small;
mod stateful_set;
mod storage;
mod webhooks;

#[cfg(test)]
mod tests;

use serde_json::Value;

use self::{
    check::Errors,
    metadata::subdomain,
    rows::{Row, VALIDATORS},
    small::{nothing, nothing_changed},
};
use crate::{facts::Gvk, status::FieldError};

/// What holds for a kind without a row.
static PLAIN: Row = Row("", "", subdomain, nothing, nothing_changed);

fn row(gvk: Gvk<'_>) -> &'static Row {
    VALIDATORS.iter().find(|row| row.0 == gvk.group && row.1 == gvk.kind).unwrap_or(&PLAIN)
}

/// Kinds that are answered and never stored.
fn is_review(gvk: Gvk<'_>) -> bool {
    matches!(gvk.group, "authentication.k8s.io" | "authorization.k8s.io")
}

/// All that is wrong with a new object.
pub fn object_create(gvk: Gvk<'_>, namespaced: bool, object: &Value) -> Vec<FieldError> {
    if is_review(gvk) {
        return Vec::new();
    }
    let row = row(gvk);
    let mut errors = Errors::default();
    // Old events may be called anything.
    let free = gvk.kind == "Event" && object.get("eventTime").is_none_or(Value::is_null);
    if gvk.kind != "Event" || !free || gvk.group == "events.k8s.io" {
        metadata::create(object, namespaced, row.2, &mut errors);
    }
    (row.3)(object, &mut errors);
    errors.finish()
}

/// All that is wrong with a changed object.
pub fn object_update(gvk: Gvk<'_>, new: &Value, old: &Value) -> Vec<FieldError> {
    if is_review(gvk) {
        return Vec::new();
    }
    let mut errors = Errors::default();
    metadata::update(new, old, &mut errors);
    (row(gvk).4)(new, old, &mut errors);
    errors.finish()
}
