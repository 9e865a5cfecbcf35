//! Storage classes, drivers, attachments.

use std::collections::BTreeSet;

use serde_json::Value;

use super::check::{Errors, Path, at, entries, get, has, int, list, text, texts};
use crate::meta;

/// Bytes that all parameters of a class may have.
const PARAMETER_BYTES: usize = 256 * 1024;
/// Parameters of a class.
const MOST_PARAMETERS: usize = 512;

/// A new StorageClass.
pub(super) fn class(object: &Value, errors: &mut Errors) {
    let provisioner = text(object, "provisioner");
    let path = Path::new("provisioner");
    if provisioner.is_empty() {
        errors.required(&path, "");
    } else {
        errors.complaints(&path, provisioner, meta::qualified_name(&provisioner.to_lowercase()));
        for error in errors.0.iter_mut().filter(|error| error.field == "provisioner") {
            error.bad = crate::status::Bad::Value(provisioner.into());
        }
    }
    parameters(object, errors);
    if let Some(policy) = get(object, "reclaimPolicy").as_str().filter(|p| !p.is_empty()) {
        errors.one_of(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let mode = Path::new("volumeBindingMode");
    match get(object, "volumeBindingMode").as_str() {
        None => errors.required(&mode, ""),
        Some(value) => errors.one_of(&mode, value, &["Immediate", "WaitForFirstConsumer"]),
    }
    topologies(object, errors);
}

fn parameters(object: &Value, errors: &mut Errors) {
    let path = Path::new("parameters");
    let all = get(object, "parameters").as_object();
    if all.is_some_and(|all| all.len() > MOST_PARAMETERS) {
        errors.too_long(&path, MOST_PARAMETERS);
        return;
    }
    let mut bytes = 0;
    for (key, value) in entries(object, "parameters") {
        if key.is_empty() {
            errors.invalid(&path, key.as_str(), "field can not be empty.");
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > PARAMETER_BYTES {
        errors.too_long(&path, PARAMETER_BYTES);
    }
}

fn topologies(object: &Value, errors: &mut Errors) {
    let path = Path::new("allowedTopologies");
    let mut terms: Vec<Vec<(String, BTreeSet<String>)>> = Vec::new();
    for (index, term) in list(object, "allowedTopologies").iter().enumerate() {
        let path = path.index(index);
        let under = path.child("matchLabelExpressions");
        let mut seen: Vec<(String, BTreeSet<String>)> = Vec::new();
        for (index, rule) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = under.index(index);
            let key = text(rule, "key");
            let values = path.child("values");
            if list(rule, "values").is_empty() {
                errors.required(&values, "");
            }
            let mut set = BTreeSet::new();
            for (index, value) in texts(rule, "values").enumerate() {
                if !set.insert(value.to_owned()) {
                    errors.duplicate(&values.index(index), value);
                }
            }
            errors.complaints(&path.child("key"), key, meta::label_key(key));
            if seen.iter().any(|(other, _)| other == key) {
                errors.duplicate(&path.child("key"), key);
            }
            seen.push((key.to_owned(), set));
        }
        seen.sort();
        if seen.is_empty() || terms.contains(&seen) {
            errors.duplicate(&under, "");
        }
        terms.push(seen);
    }
}

/// A changed StorageClass: almost nothing may change.
pub(super) fn class_update(new: &Value, old: &Value, errors: &mut Errors) {
    for key in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
        if get(new, key) != get(old, key) {
            errors.invalid(&Path::new(key), Value::Null, "field is immutable");
        }
    }
}

/// A new CSIDriver.
pub(super) fn driver(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    for (key, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if !has(spec, key) {
            errors.required(&path.child(shown), "");
        }
    }
    let modes = path.child("volumeLifecycleModes");
    for mode in texts(spec, "volumeLifecycleModes") {
        errors.one_of(&modes, mode, &["Ephemeral", "Persistent"]);
    }
    if let Some(policy) = get(spec, "fsGroupPolicy").as_str() {
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        errors.one_of(&path.child("fsGroupPolicy"), policy, &known);
    }
    let under = path.child("tokenRequests");
    let mut audiences = BTreeSet::new();
    for (index, request) in list(spec, "tokenRequests").iter().enumerate() {
        let path = under.index(index);
        let audience = text(request, "audience");
        if !audiences.insert(audience) {
            errors.duplicate(&path.child("audience"), audience);
        }
        if let Some(seconds) = int(request, "expirationSeconds") {
            let at = path.child("expirationSeconds");
            if seconds < 600 {
                let why = "may not specify a duration less than 10 minutes";
                errors.invalid(&at, seconds, why);
            } else if seconds > 1 << 32 {
                let why = "may not specify a duration larger than 2^32 seconds";
                errors.invalid(&at, seconds, why);
            }
        }
    }
}

/// A changed CSIDriver.
pub(super) fn driver_update(new: &Value, old: &Value, errors: &mut Errors) {
    driver(new, errors);
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    let path = Path::new("spec");
    for (key, shown) in
        [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
    {
        errors.immutable(&path.child(shown), get(now, key), get(before, key));
    }
}

/// A new CSINode.
pub(super) fn node(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let path = path.child("drivers");
    let mut names = BTreeSet::new();
    for (index, driver) in list(get(object, "spec"), "drivers").iter().enumerate() {
        let path = path.index(index);
        let name = text(driver, "name");
        let at_name = path.child("name");
        if name.is_empty() {
            errors.required(&at_name, "");
        } else {
            if name.len() > 63 {
                errors.too_long(&at_name, 63);
            }
            errors.complaints(&at_name, name, meta::dns1123_subdomain(&name.to_lowercase()));
            fix_case(errors, name);
        }
        match text(driver, "nodeID") {
            "" => errors.required(&path.child("nodeID"), ""),
            id if id.len() > 256 => {
                errors.invalid(&path.child("nodeID"), id, "must be 256 characters or less");
            }
            _ => {}
        }
        let count = int(get(driver, "allocatable"), "count");
        let allocatable = path.child("allocatable");
        errors.not_negative(&allocatable.child("count"), count);
        let mut keys = BTreeSet::new();
        for key in texts(driver, "topologyKeys") {
            if key.is_empty() {
                errors.required(&path, "");
            }
            if !keys.insert(key) {
                errors.duplicate(&path, key);
            }
            errors.complaints(&path, key, meta::qualified_name(key));
        }
        if !names.insert(name) && !name.is_empty() {
            errors.duplicate(&at_name, name);
        }
    }
}

/// Complaints about a lower-cased name are shown with the name as it is.
fn fix_case(errors: &mut Errors, name: &str) {
    let lower = Value::from(name.to_lowercase());
    for error in &mut errors.0 {
        if error.bad == crate::status::Bad::Value(lower.clone()) {
            error.bad = crate::status::Bad::Value(name.into());
        }
    }
}

/// A changed CSINode: drivers may come and go, but not change.
pub(super) fn node_update(new: &Value, old: &Value, errors: &mut Errors) {
    node(new, errors);
    let path = Path::new("spec");
    let path = path.child("drivers");
    let before = list(get(old, "spec"), "drivers");
    for driver in list(get(new, "spec"), "drivers") {
        let name = text(driver, "name");
        let bare = |driver: &Value| {
            let mut copy = driver.clone();
            if let Some(map) = copy.as_object_mut() {
                map.remove("allocatable");
            }
            copy
        };
        let changed = before.iter().find(|old| text(old, "name") == name);
        if changed.is_some_and(|old| bare(old) != bare(driver)) {
            errors.invalid(&path, driver.clone(), "field is immutable");
        }
    }
}

/// A new CSIStorageCapacity.
pub(super) fn capacity(object: &Value, errors: &mut Errors) {
    let class = text(object, "storageClassName");
    errors.complaints(&Path::new("storageClassName"), class, meta::dns1123_subdomain(class));
}

/// A changed CSIStorageCapacity.
pub(super) fn capacity_update(new: &Value, old: &Value, errors: &mut Errors) {
    capacity(new, errors);
    for key in ["nodeTopology", "storageClassName"] {
        errors.immutable(&Path::new(key), get(new, key), get(old, key));
    }
}

/// A new VolumeAttachment.
pub(super) fn attachment(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    for key in ["attacher", "nodeName"] {
        let name = text(spec, key);
        if name.is_empty() {
            errors.required(&path.child(key), "");
        } else if key == "attacher" {
            errors.complaints(
                &path.child(key),
                name,
                meta::dns1123_subdomain(&name.to_lowercase()),
            );
        } else {
            errors.complaints(&path.child(key), name, meta::dns1123_subdomain(name));
        }
    }
    let source = get(spec, "source");
    let under = path.child("source");
    let (inline, name) =
        (get(source, "inlineVolumeSpec"), get(source, "persistentVolumeName").as_str());
    match (inline.is_null(), name) {
        (true, None) => {
            errors.required(
                &under,
                "must specify exactly one of inlineVolumeSpec and \
                                     persistentVolumeName",
            );
        }
        (false, Some(_)) => {
            errors.forbidden(
                &under,
                "must specify exactly one of inlineVolumeSpec and \
                                      persistentVolumeName",
            );
        }
        (true, Some(name)) => {
            let at = under.child("persistentVolumeName");
            errors.complaints(&at, name, meta::dns1123_subdomain(name));
        }
        (false, None) => {}
    }
    status(object, errors);
}

fn status(object: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    for key in ["attachError", "detachError"] {
        let path = path.child(key);
        if let Some(code) = at(object, &format!("/status/{key}/errorCode")).as_i64() {
            errors.in_range(&path.child("errorCode"), code, 0, i64::from(i32::MAX));
        }
    }
}

/// A changed VolumeAttachment: what it attaches stays.
pub(super) fn attachment_update(new: &Value, old: &Value, errors: &mut Errors) {
    status(new, errors);
    if get(new, "spec") != get(old, "spec") {
        let value = get(new, "spec").clone();
        errors.invalid(&Path::new("spec"), value, "field is immutable");
    }
}

/// A new VolumeAttributesClass.
pub(super) fn attributes_class(object: &Value, errors: &mut Errors) {
    let driver = text(object, "driverName");
    let path = Path::new("driverName");
    if driver.is_empty() {
        errors.required(&path, "");
    } else {
        errors.complaints(&path, driver, meta::dns1123_subdomain(&driver.to_lowercase()));
    }
    let empty = get(object, "parameters").as_object().is_none_or(serde_json::Map::is_empty);
    if empty {
        errors.required(&Path::new("parameters"), "must contain at least one key/value pair");
    }
    parameters(object, errors);
}

/// A changed VolumeAttributesClass.
pub(super) fn attributes_class_update(new: &Value, old: &Value, errors: &mut Errors) {
    for key in ["driverName", "parameters"] {
        errors.immutable(&Path::new(key), get(new, key), get(old, key));
    }
}
