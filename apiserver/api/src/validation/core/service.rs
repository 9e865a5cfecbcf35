//! Services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        check::{Errors, Path, get, int, list, text},
        metadata,
    },
    service_spec,
};
use crate::meta;

/// Protocols of a port.
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// Longest time that a client's affinity lasts.
const LONGEST_AFFINITY: i64 = 86_400;

/// A new Service.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let kind = text(spec, "type");
    let headless = service_spec::is_headless(spec);
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    annotations(object, errors);
    service_spec::by_type(spec, &path, errors);
    ports(spec, &path, errors);
    metadata::labels(spec, "selector", &path, errors);
    affinity(spec, &path, errors);
    service_spec::addresses(spec, &path, errors);
    service_spec::external_ips(spec, &path, errors);
    match kind {
        "" => errors.required(&path.child("type"), ""),
        kind => {
            let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
            errors.one_of(&path.child("type"), kind, &known);
        }
    }
    conflicts(spec, &path, errors);
    service_spec::balancer(spec, &path, errors);
    service_spec::traffic(spec, &path, errors);
}

fn ports(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all = list(spec, "ports");
    let path = path.child("ports");
    let mut names = BTreeSet::new();
    for (at, port) in all.iter().enumerate() {
        let path = path.index(at);
        let name = text(port, "name");
        if name.is_empty() {
            if all.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            errors.complaints(&path.child("name"), name, meta::dns1123_label(name));
            if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        errors.port(&path.child("port"), int(port, "port").unwrap_or(0));
        match text(port, "protocol") {
            "" => errors.required(&path.child("protocol"), ""),
            protocol => errors.one_of(&path.child("protocol"), protocol, &PROTOCOLS),
        }
        target(get(port, "targetPort"), &path.child("targetPort"), errors);
        if let Some(protocol) = get(port, "appProtocol").as_str() {
            errors.complaints(&path.child("appProtocol"), protocol, meta::qualified_name(protocol));
        }
    }
}

fn target(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    match port {
        Value::String(name) => errors.complaints(path, name, meta::port_name(name)),
        other => errors.port(path, other.as_i64().unwrap_or(0)),
    }
}

fn affinity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mode = text(spec, "sessionAffinity");
    let at = path.child("sessionAffinity");
    match mode {
        "" => errors.required(&at, ""),
        mode => errors.one_of(&at, mode, &["ClientIP", "None"]),
    }
    let config = get(spec, "sessionAffinityConfig");
    let under = path.child("sessionAffinityConfig");
    if mode == "ClientIP" {
        let seconds = int(get(config, "clientIP"), "timeoutSeconds");
        if let Some(seconds) = seconds.filter(|s| *s <= 0 || *s > LONGEST_AFFINITY) {
            let client = under.child("clientIP");
            let why = format!("must be greater than 0 and less than {LONGEST_AFFINITY}");
            errors.invalid(&client.child("timeoutSeconds"), seconds, &why);
        }
    } else if mode == "None" && !config.is_null() {
        let why = "must not be set when session affinity is None";
        errors.forbidden(&under, why);
    }
}

/// The same node port or the same port twice.
fn conflicts(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("ports");
    let mut numbers = Vec::new();
    let kind = text(spec, "type");
    for (at, port) in list(spec, "ports").iter().enumerate() {
        let path = path.index(at);
        let node = int(port, "nodePort").unwrap_or(0);
        if kind == "ClusterIP" && node != 0 {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(&path.child("nodePort"), why);
        }
    }
    for (at, port) in list(spec, "ports").iter().enumerate() {
        let path = path.index(at);
        let protocol = text(port, "protocol");
        let number = int(port, "port").unwrap_or(0);
        if numbers.contains(&(protocol, number)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\
                 \"TargetPort\":0,\"NodePort\":0}}",
                Value::from(protocol)
            );
            errors.duplicate_raw(&path, shown);
        }
        numbers.push((protocol, number));
    }
}

/// A changed Service. Which addresses stay is the server's strategy.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (get(new, "spec"), get(old, "spec"));
    if now != before {
        health_port(now, before, errors);
        create(new, errors);
    }
    if get(new, "status") != get(old, "status") {
        let path = Path::new("status");
        super::super::ingress::balancer_status(get(new, "status"), &path, errors);
    }
}

/// Annotations that say what a field, or another annotation, says.
fn annotations(object: &Value, errors: &mut Errors) {
    let metadata = Path::new("metadata");
    let path = metadata.child("annotations");
    let get_one = |key: &str| super::super::check::at(object, "/metadata/annotations").get(key);
    let ranges = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let balanced = text(get(object, "spec"), "type") == "LoadBalancer";
    let unset = list(get(object, "spec"), "loadBalancerSourceRanges").is_empty();
    if let Some(value) = get_one(ranges).and_then(Value::as_str) {
        if !balanced {
            let why = "may only be used when `type` is 'LoadBalancer'";
            errors.forbidden(&path.key(ranges), why);
        }
        for range in value.trim().split(',').map(str::trim).filter(|range| !range.is_empty()) {
            let why = super::super::addresses::cidr_complaint(range);
            if let Some(why) = why.filter(|_| balanced && unset) {
                errors.invalid(&path.key(ranges), range, &why);
            }
        }
    }
    let (old, new) =
        ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode");
    if let (Some(hints), Some(mode)) = (get_one(old), get_one(new))
        && hints != mode
    {
        let why = format!("must match annotations[{old}] when both are specified");
        errors.invalid(&path.key(new), mode.clone(), &why);
    }
}

fn health_port(now: &Value, before: &Value, errors: &mut Errors) {
    let needs = |spec: &Value| {
        text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
    };
    let (new, old) = (int(now, "healthCheckNodePort"), int(before, "healthCheckNodePort"));
    if needs(now) && needs(before) && old.is_some_and(|old| old != 0) && new != old {
        let path = Path::new("spec");
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
}

/// Names of Services are DNS labels.
pub(in crate::validation) fn name(name: &str, prefix: bool) -> Vec<String> {
    metadata::label(name, prefix)
}
