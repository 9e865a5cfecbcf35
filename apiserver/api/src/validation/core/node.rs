//! Nodes: taints, pod ranges, capacities. Upstream reports taints under metadata.

use serde_json::Value;

use super::{
    super::{
        addresses,
        check::{Errors, Path, entries, get, list, text, texts},
    },
    pod::amount,
};
use crate::{
    codec::{self, ContentType, Error},
    meta,
};

/// Effects of a taint.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// A new Node.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    avoided(object, errors);
    taints(object, errors);
    ranges(object, errors);
    let path = Path::new("status");
    for key in ["capacity", "allocatable"] {
        let under = path.child(key);
        for (name, value) in entries(get(object, "status"), key) {
            amount(name, value, &under.child(name), errors);
        }
    }
}

/// An annotation of the past must still be JSON.
fn avoided(object: &Value, errors: &mut Errors) {
    let key = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let text = get(get(object, "metadata"), "annotations").get(key).and_then(Value::as_str);
    if let Some(text) = text
        && let Err(Error::Syntax(why)) = codec::parse(text.as_bytes(), ContentType::Json)
    {
        let metadata = Path::new("metadata");
        let path = metadata.child("annotations");
        errors.invalid(&path.child("AvoidPods"), key, &why);
    }
}

fn taints(object: &Value, errors: &mut Errors) {
    let metadata = Path::new("metadata");
    let path = metadata.child("taints");
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (at, taint) in list(get(object, "spec"), "taints").iter().enumerate() {
        let path = path.index(at);
        let (key, value, effect) =
            (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.complaints(&path.child("key"), key, meta::qualified_name(key));
        errors.complaints(&path.child("value"), value, meta::label_value(value));
        match effect {
            "" => errors.required(&path.child("effect"), ""),
            effect => errors.one_of(&path.child("effect"), effect, &EFFECTS),
        }
        if seen.contains(&(key, effect)) {
            let shown = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{}}}",
                Value::from(key),
                Value::from(value),
                Value::from(effect),
                get(taint, "timeAdded")
            );
            errors.duplicate_raw(&path, shown);
            if let Some(last) = errors.0.last_mut() {
                "taints must be unique by key and effect pair".clone_into(&mut last.detail);
            }
        }
        seen.push((key, effect));
    }
}

fn ranges(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let path = path.child("podCIDRs");
    let mut families = Vec::new();
    for (at, range) in texts(spec, "podCIDRs").enumerate() {
        addresses::cidr(range, &path.index(at), errors);
        families.push(range.contains(':'));
    }
    let two = families.len() == 2 && families[0] != families[1];
    if families.len() > 1 && !two {
        let why = "may specify no more than one CIDR for each IP family";
        errors.invalid(&path, get(spec, "podCIDRs").clone(), why);
    }
}

/// A changed Node: its pod ranges stay once they are set.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    create(new, errors);
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    let path = Path::new("spec");
    if !list(before, "podCIDRs").is_empty() && get(now, "podCIDRs") != get(before, "podCIDRs") {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&path.child("podCIDRs"), why);
    }
    if !text(before, "providerID").is_empty()
        && text(now, "providerID") != text(before, "providerID")
    {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&path.child("providerID"), why);
    }
    if text(now, "externalID") != text(before, "externalID") {
        errors.forbidden(&path.child("externalID"), "may not be updated");
    }
}
