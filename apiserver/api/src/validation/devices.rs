//! Device classes, claims, slices and taint rules, but for what their CEL expressions say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    check::{Errors, Path, get, has, int, list, shown, text, texts},
    core::pod::node_selector_terms,
    device_slices::{pool_name, taint},
};
use crate::meta;

/// Effects of a device's taint.
pub(super) const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// Complaints about a driver's name, which may have capitals.
fn driver_complaints(name: &str) -> Vec<String> {
    if meta::dns1123_subdomain(&name.to_lowercase()).is_empty() {
        return Vec::new();
    }
    vec![
        "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character (e.g. 'Example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned(),
    ]
}

fn opaque(config: &Value, path: &Path<'_>, errors: &mut Errors) {
    let opaque = get(config, "opaque");
    let path = path.child("opaque");
    if opaque.is_null() {
        errors.required(&path, "");
        return;
    }
    match text(opaque, "driver") {
        "" => errors.required(&path.child("driver"), ""),
        name => errors.complaints(&path.child("driver"), name, driver_complaints(name)),
    }
    let at = path.child("parameters");
    match get(opaque, "parameters") {
        Value::Null => errors.required(&at, ""),
        Value::Object(_) => {}
        _ => errors.invalid(&at, "<value omitted>", "must be a valid JSON object"),
    }
}

fn selectors(holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("selectors");
    for (at, selector) in list(holder, "selectors").iter().enumerate() {
        if !has(selector, "cel") {
            let path = path.index(at);
            errors.required(&path.child("cel"), "");
        }
    }
}

/// A DeviceClass.
pub(super) fn class(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    selectors(spec, &path, errors);
    let under = path.child("config");
    for (at, config) in list(spec, "config").iter().enumerate() {
        opaque(config, &under.index(at), errors);
    }
    if let Some(name) = get(spec, "extendedResourceName").as_str() {
        let at = path.child("extendedResourceName");
        if !name.contains('/') {
            let why = "a name must be a domain-prefixed path, such as 'example.com/my-prop'";
            errors.invalid(&at, name, why);
        }
        errors.complaints(&at, name, meta::qualified_name(name));
        if name.contains("kubernetes.io/") {
            errors.invalid(&at, name, "must not have \"kubernetes.io/\" domain");
        }
    }
}

/// A changed DeviceClass.
pub(super) fn class_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        class(new, errors);
    }
}

/// A ResourceClaim.
pub(super) fn claim(object: &Value, errors: &mut Errors) {
    claim_spec(get(object, "spec"), &Path::new("spec"), errors);
}

/// A ResourceClaimTemplate.
pub(super) fn claim_template(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    claim_spec(get(get(object, "spec"), "spec"), &path.child("spec"), errors);
}

/// Names of requests, and of parts of requests, in a claim.
fn request_names(devices: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for request in list(devices, "requests") {
        let name = text(request, "name");
        out.insert(name.to_owned());
        for part in list(request, "firstAvailable") {
            out.insert(format!("{name}/{}", text(part, "name")));
        }
    }
    out
}

fn claim_spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let devices = get(spec, "devices");
    let path = path.child("devices");
    let names = request_names(devices);
    let under = path.child("requests");
    let mut seen = BTreeSet::new();
    for (at, request) in list(devices, "requests").iter().enumerate() {
        let path = under.index(at);
        self::request(request, &path, errors);
        let name = text(request, "name");
        if !seen.insert(name) {
            let type_name = "io.k8s.api.resource.v1.DeviceRequest";
            errors.duplicate_raw(&path, shown(type_name, request));
        }
    }
    let under = path.child("constraints");
    for (at, constraint) in list(devices, "constraints").iter().enumerate() {
        self::constraint(constraint, &names, &under.index(at), errors);
    }
    let under = path.child("config");
    for (at, config) in list(devices, "config").iter().enumerate() {
        let path = under.index(at);
        references(config, &names, &path, errors);
        opaque(config, &path, errors);
    }
}

fn request(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = text(request, "name");
    errors.complaints(&path.child("name"), name, meta::dns1123_label(name));
    let (exactly, parts) = (get(request, "exactly"), list(request, "firstAvailable"));
    let why = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly.is_null(), parts.is_empty()) {
        (true, true) => errors.required(path, why),
        (false, false) => {
            let why = format!("{why}, but multiple fields are set");
            errors.invalid(path, Value::Null, &why);
        }
        (false, true) => amount(exactly, &path.child("exactly"), errors),
        (true, false) => {
            let under = path.child("firstAvailable");
            let mut seen = BTreeSet::new();
            for (at, part) in parts.iter().enumerate() {
                let path = under.index(at);
                let name = text(part, "name");
                errors.complaints(&path.child("name"), name, meta::dns1123_label(name));
                amount(part, &path, errors);
                if !seen.insert(name) {
                    let type_name = "io.k8s.api.resource.v1.DeviceSubRequest";
                    errors.duplicate_raw(&path, shown(type_name, part));
                }
            }
        }
    }
}

fn amount(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    match text(request, "deviceClassName") {
        "" => errors.required(&path.child("deviceClassName"), ""),
        name => {
            errors.complaints(&path.child("deviceClassName"), name, meta::dns1123_subdomain(name));
        }
    }
    selectors(request, path, errors);
    let count = int(request, "count").unwrap_or(0);
    let at = path.child("count");
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            errors.invalid(&at, count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count <= 0 => errors.invalid(&at, count, "must be greater than zero"),
        "ExactCount" => {}
        other => {
            errors.not_supported(&path.child("allocationMode"), other, &["All", "ExactCount"]);
        }
    }
    let under = path.child("tolerations");
    for (at, toleration) in list(request, "tolerations").iter().enumerate() {
        self::toleration(toleration, &under.index(at), errors);
    }
}

fn toleration(toleration: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    if !key.is_empty() {
        errors.complaints(&path.child("key"), key, meta::label_key(key));
    }
    let operator = text(toleration, "operator");
    match operator {
        "Exists" if !value.is_empty() => {
            errors.invalid(&path.child("value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => errors.complaints(&path.child("value"), value, meta::label_value(value)),
        "" => errors.required(&path.child("operator"), ""),
        other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    let effect = text(toleration, "effect");
    if !effect.is_empty() {
        errors.one_of(&path.child("effect"), effect, &EFFECTS);
    }
}

fn references(holder: &Value, names: &BTreeSet<String>, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("requests");
    let mut seen = BTreeSet::new();
    for (at, name) in texts(holder, "requests").enumerate() {
        if !names.contains(name) {
            let why = "must be the name of a request in the claim or the name of a request and a \
                       subrequest separated by '/'";
            errors.invalid(&path.index(at), name, why);
        }
        if !seen.insert(name) {
            errors.duplicate(&path.index(at), name);
        }
    }
}

fn constraint(one: &Value, names: &BTreeSet<String>, path: &Path<'_>, errors: &mut Errors) {
    references(one, names, path, errors);
    let (matching, distinct) = (get(one, "matchAttribute"), get(one, "distinctAttribute"));
    let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required";
    match (matching.as_str(), distinct.as_str()) {
        (None, None) => errors.required(path, why),
        (Some(_), Some(_)) => {
            errors.required(path, &format!("{why}, but multiple fields are set"));
        }
        (Some(name), None) => full_name(name, &path.child("matchAttribute"), errors),
        (None, Some(name)) => full_name(name, &path.child("distinctAttribute"), errors),
    }
}

/// A domain, a slash and an identifier.
fn full_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let (domain, identifier) = name.split_once('/').unwrap_or(("", name));
    if domain.is_empty() && name.contains('/') {
        errors.invalid(path, domain, "must not be empty");
    }
    if name.contains('/') {
        for why in meta::dns1123_subdomain(domain) {
            errors.invalid(path, domain, &format!("prefix: {why}"));
        }
    }
    c_identifier(identifier, path, errors);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(path, name, why);
    }
}

pub(super) fn c_identifier(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let bytes = name.as_bytes();
    let good = bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if !good {
        let why = "a valid C identifier must start with alphabetic character or '_', followed by a \
                   string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or \
                   'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.invalid(path, name, why);
    }
}

/// A changed ResourceClaim: what it wants stays.
pub(super) fn claim_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        errors.invalid(&Path::new("spec"), Value::Null, "field is immutable");
    }
    let (now, before) = (get(new, "status"), get(old, "status"));
    let path = Path::new("status");
    if has(before, "allocation")
        && has(now, "allocation")
        && get(now, "allocation") != get(before, "allocation")
    {
        let why = "field cannot be modified once set";
        errors.invalid(&path.child("allocation"), Value::Null, why);
    }
    if get(now, "allocation") != get(before, "allocation") {
        allocation(new, &path, errors);
    }
    let under = path.child("reservedFor");
    let consumers = list(now, "reservedFor");
    let mut seen = BTreeSet::new();
    for (at, consumer) in consumers.iter().enumerate() {
        let path = under.index(at);
        for key in ["resource", "name", "uid"] {
            if text(consumer, key).is_empty() {
                errors.required(&path.child(key), "");
            }
        }
        if !seen.insert(text(consumer, "uid")) {
            let type_name = "io.k8s.api.resource.v1.ResourceClaimConsumerReference";
            errors.duplicate_raw(&path, shown(type_name, consumer));
        }
    }
    if !consumers.is_empty() && !has(now, "allocation") {
        errors.forbidden(&under, "may not be specified when `allocated` is not set");
    }
}

/// What a claim was given.
fn allocation(claim: &Value, path: &Path<'_>, errors: &mut Errors) {
    let given = get(get(claim, "status"), "allocation");
    if given.is_null() {
        return;
    }
    let names = request_names(get(get(claim, "spec"), "devices"));
    let path = path.child("allocation");
    let devices = get(given, "devices");
    let under = path.child("devices");
    let results = under.child("results");
    for (at, result) in list(devices, "results").iter().enumerate() {
        let path = results.index(at);
        let name = text(result, "request");
        if !names.contains(name) {
            let why = "must be the name of a request in the claim or the name of a request and a \
                       subrequest separated by '/'";
            errors.invalid(&path.child("request"), name, why);
        }
        match text(result, "driver") {
            "" => errors.required(&path.child("driver"), ""),
            name => errors.complaints(&path.child("driver"), name, driver_complaints(name)),
        }
        let pool = text(result, "pool");
        if pool.is_empty() {
            errors.required(&path.child("pool"), "");
        }
        for (at, part) in pool.split('/').enumerate().filter(|_| !pool.is_empty()) {
            if part.is_empty() {
                let why = format!("segment {at}: must not be empty");
                errors.invalid(&path.child("pool"), pool, &why);
            }
        }
        let device = text(result, "device");
        errors.complaints(&path.child("device"), device, meta::dns1123_label(device));
    }
    let configs = under.child("config");
    for (at, config) in list(devices, "config").iter().enumerate() {
        let path = configs.index(at);
        match text(config, "source") {
            "" => errors.required(&path.child("source"), ""),
            source => errors.one_of(&path.child("source"), source, &["FromClaim", "FromClass"]),
        }
        references(config, &names, &path, errors);
        opaque(config, &path, errors);
    }
    let selector = get(given, "nodeSelector");
    if !selector.is_null() {
        node_selector_terms(selector, &path.child("nodeSelector"), errors);
    }
}

/// A changed ResourceClaimTemplate.
pub(super) fn claim_template_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        errors.invalid(&Path::new("spec"), Value::Null, "field is immutable");
    }
}

/// A DeviceTaintRule.
pub(super) fn taint_rule(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let selector = get(spec, "deviceSelector");
    let under = path.child("deviceSelector");
    if let Some(name) = get(selector, "driver").as_str() {
        errors.complaints(&under.child("driver"), name, meta::dns1123_subdomain(name));
    }
    if let Some(name) = get(selector, "pool").as_str() {
        pool_name(name, &under.child("pool"), errors);
    }
    if let Some(name) = get(selector, "device").as_str() {
        errors.complaints(&under.child("device"), name, meta::dns1123_label(name));
    }
    taint(get(spec, "taint"), &path.child("taint"), errors);
}

/// A changed DeviceTaintRule.
pub(super) fn taint_rule_update(new: &Value, _old: &Value, errors: &mut Errors) {
    taint_rule(new, errors);
}
