//! Slices of devices: what a driver offers on which nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    check::{Errors, Path, entries, flag, get, has, int, list, text, texts},
    core::pod::node_selector_terms,
    devices::{EFFECTS, c_identifier},
};
use crate::meta;

/// A ResourceSlice.
pub(super) fn slice(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    match text(spec, "driver") {
        "" => errors.required(&path.child("driver"), ""),
        name => errors.complaints(&path.child("driver"), name, meta::dns1123_subdomain(name)),
    }
    let pool = get(spec, "pool");
    let under = path.child("pool");
    pool_name(text(pool, "name"), &under.child("name"), errors);
    let count = int(pool, "resourceSliceCount").unwrap_or(0);
    if count <= 0 {
        errors.invalid(&under.child("resourceSliceCount"), count, "must be greater than zero");
    }
    let generation = int(pool, "generation").unwrap_or(0);
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.invalid(&under.child("generation"), generation, why);
    }
    placement(spec, &path, errors);
    let under = path.child("devices");
    let mut seen = BTreeSet::new();
    let all = list(spec, "devices");
    if !all.is_empty() && !list(spec, "sharedCounters").is_empty() {
        errors.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let per_device = flag(spec, "perDeviceNodeSelection");
    for (at, device) in all.iter().enumerate() {
        let path = under.index(at);
        device_nodes(device, per_device, &path, errors);
        binding_conditions(device, &path, errors);
        counters(device, &path, errors);
        let name = text(device, "name");
        errors.complaints(&path.child("name"), name, meta::dns1123_label(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
        for (at, one) in list(device, "taints").iter().enumerate() {
            let under = path.child("taints");
            taint(one, &under.index(at), errors);
        }
        let attributes = path.child("attributes");
        for (name, value) in entries(device, "attributes") {
            attribute(name, value, &attributes, errors);
        }
    }
}

pub(super) fn pool_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    for part in name.split('/') {
        errors.complaints(path, part, meta::dns1123_subdomain(part));
    }
}

fn placement(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let set = |key: &str| match get(spec, key) {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    let keys = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let chosen: Vec<String> =
        keys.iter().filter(|key| set(key)).map(|key| format!("`{key}`")).collect();
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is \
               required";
    match chosen.len() {
        0 => errors.required(path, why),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", chosen.join(", "));
            errors.invalid(path, shown, &format!("{why}, but multiple fields are set"));
        }
    }
    if let Some(name) = get(spec, "nodeName").as_str().filter(|name| !name.is_empty()) {
        errors.complaints(&path.child("nodeName"), name, meta::dns1123_subdomain(name));
    }
    let selector = get(spec, "nodeSelector");
    if !selector.is_null() {
        let path = path.child("nodeSelector");
        node_selector_terms(selector, &path, errors);
        if list(selector, "nodeSelectorTerms").len() != 1 {
            let value = Value::Array(list(selector, "nodeSelectorTerms").to_vec());
            let why = "must have exactly one node selector term";
            errors.invalid(&path.child("nodeSelectorTerms"), value, why);
        }
    }
}

fn attribute(name: &str, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (domain, identifier) = name.split_once('/').unwrap_or(("", name));
    if !domain.is_empty() {
        errors.complaints(path, domain, meta::dns1123_subdomain(domain));
    }
    c_identifier(identifier, path, errors);
    let at = path.key(name);
    let kinds = ["int", "bool", "string", "version", "ints", "bools", "strings", "versions"];
    // The list forms are known and switched off: they don't count.
    let on = &kinds[..4];
    let set: Vec<&str> = on.iter().copied().filter(|kind| has(value, kind)).collect();
    let all = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`";
    match set.as_slice() {
        [] => errors.invalid(&at, "", &format!("must specify one of: {all}")),
        [_] => {}
        many => {
            let shown = format!("{{{}}}", many.join(", "));
            errors.invalid(&at, shown, &format!("must specify exactly one of: {all}"));
        }
    }
    let version = get(value, "version").as_str();
    if let Some(version) = version.filter(|version| !is_version(version)) {
        let why = "must be a string compatible with semver.org spec 2.0.0";
        errors.invalid(&at.child("version"), version, why);
    }
    if text(value, "string").len() > 64 {
        errors.too_long(&at.child("string"), 64);
    }
}

pub(super) fn taint(taint: &Value, path: &Path<'_>, errors: &mut Errors) {
    let key = text(taint, "key");
    errors.complaints(&path.child("key"), key, meta::label_key(key));
    let value = text(taint, "value");
    if !value.is_empty() {
        errors.complaints(&path.child("value"), value, meta::label_value(value));
    }
    match text(taint, "effect") {
        "" => errors.required(&path.child("effect"), ""),
        effect => errors.one_of(&path.child("effect"), effect, &EFFECTS),
    }
}

/// Where a device can be used, when each says so for itself.
fn device_nodes(device: &Value, per_device: bool, path: &Path<'_>, errors: &mut Errors) {
    let keys = ["nodeName", "nodeSelector", "allNodes"];
    let chosen: Vec<String> =
        keys.iter().filter(|key| has(device, key)).map(|key| format!("`{key}`")).collect();
    if !per_device {
        if !chosen.is_empty() {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if \
                       `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.invalid(path, Value::Null, why);
        }
        return;
    }
    if let Some(name) = get(device, "nodeName").as_str() {
        errors.complaints(&path.child("nodeName"), name, meta::dns1123_subdomain(name));
    }
    let none = get(device, "allNodes").as_bool() == Some(false);
    if none {
        errors.invalid(&path.child("allNodes"), false, "must be either unset or set to true");
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
               `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match chosen.len() - usize::from(none) {
        0 => errors.required(path, why),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", chosen.join(", ")), why),
    }
}

/// Conditions that a device must meet before its pod starts, and those that say it never will.
fn binding_conditions(device: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (good, bad) = ("bindingConditions", "bindingFailureConditions");
    let must: Vec<&str> = texts(device, good).collect();
    for key in [good, bad] {
        let under = path.child(key);
        let mut seen = BTreeSet::new();
        for (at, condition) in texts(device, key).enumerate() {
            errors.complaints(&under.index(at), condition, meta::qualified_name(condition));
            if !seen.insert(condition) {
                errors.duplicate(&under.index(at), condition);
            }
            if key == bad && must.contains(&condition) {
                let why = "bindingFailureConditions must not overlap with bindingConditions";
                errors.invalid(&under.index(at), condition, why);
            }
        }
    }
    match (must.is_empty(), list(device, bad).is_empty()) {
        (false, true) => {
            let why = "bindingFailureConditions are required to use bindingConditions";
            errors.invalid(&path.child(bad), Value::Null, why);
        }
        (true, false) => {
            let why = "bindingConditions are required to use bindingFailureConditions";
            errors.invalid(&path.child(good), Value::Null, why);
        }
        _ => {}
    }
}

/// Capacities and shared counters of a device.
fn counters(device: &Value, path: &Path<'_>, errors: &mut Errors) {
    let under = path.child("capacity");
    for (name, capacity) in entries(device, "capacity") {
        let (domain, identifier) = name.split_once('/').unwrap_or(("", name));
        if !domain.is_empty() {
            errors.complaints(&under, domain, meta::dns1123_subdomain(domain));
        }
        c_identifier(identifier, &under, errors);
        if has(capacity, "requestPolicy") && !flag(device, "allowMultipleAllocations") {
            let at = under.key(name);
            errors.forbidden(&at.child("requestPolicy"), "allowMultipleAllocations must be true");
        }
    }
    let under = path.child("consumesCounters");
    for (at, one) in list(device, "consumesCounters").iter().enumerate() {
        let path = under.index(at);
        match text(one, "counterSet") {
            "" => errors.required(&path.child("counterSet"), ""),
            name => errors.complaints(&path.child("counterSet"), name, meta::dns1123_label(name)),
        }
        let mut none = true;
        for (name, _) in entries(one, "counters") {
            none = false;
            errors.complaints(&path.child("counters"), name, meta::dns1123_label(name));
        }
        if none {
            errors.required(&path.child("counters"), "");
        }
    }
}

/// A changed ResourceSlice.
pub(super) fn slice_update(new: &Value, old: &Value, errors: &mut Errors) {
    slice(new, errors);
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    let path = Path::new("spec");
    for key in ["driver", "nodeName"] {
        errors.immutable(&path.child(key), get(now, key), get(before, key));
    }
    let pool = path.child("pool");
    let name = |spec: &Value| get(get(spec, "pool"), "name").clone();
    errors.immutable(&pool.child("name"), &name(now), &name(before));
}

/// Three numbers, perhaps with a pre-release and a build.
fn is_version(text: &str) -> bool {
    let core = text.split('+').next().unwrap_or_default();
    let core = core.split('-').next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let number = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    numbers.len() == 3 && numbers.iter().all(number)
}
