//! Ports of containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::super::check::{Errors, Path, int, list, text};
use crate::meta;

/// Protocols of a port.
pub(in crate::validation) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// The ports of one container.
pub(super) fn ports(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("ports");
    let mut names = BTreeSet::new();
    for (at, port) in list(container, "ports").iter().enumerate() {
        let path = path.index(at);
        let name = text(port, "name");
        if !name.is_empty() {
            let complaints = meta::port_name(name);
            if complaints.is_empty() && !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            errors.complaints(&path.child("name"), name, complaints);
        }
        match int(port, "containerPort").unwrap_or(0) {
            0 => errors.required(&path.child("containerPort"), ""),
            number => errors.port(&path.child("containerPort"), number),
        }
        if let Some(number) = int(port, "hostPort").filter(|number| *number != 0) {
            errors.port(&path.child("hostPort"), number);
        }
        match text(port, "protocol") {
            "" => errors.required(&path.child("protocol"), ""),
            protocol => errors.one_of(&path.child("protocol"), protocol, &PROTOCOLS),
        }
    }
}

/// Host ports are taken once in a pod.
pub(super) fn host_conflicts(containers: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        conflicts(container, &path.index(at), &mut seen, errors);
    }
}

/// Host ports are taken once in a container that runs alone.
pub(super) fn host_conflicts_at(containers: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for container in containers {
        conflicts(container, path, &mut BTreeSet::new(), errors);
    }
}

fn conflicts(container: &Value, path: &Path<'_>, seen: &mut BTreeSet<String>, errors: &mut Errors) {
    let path = path.child("ports");
    for (at, port) in list(container, "ports").iter().enumerate() {
        let Some(number) = int(port, "hostPort").filter(|number| *number != 0) else { continue };
        let taken = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
        if !seen.insert(taken.clone()) {
            errors.duplicate(&path.index(at).child("hostPort"), taken);
        }
    }
}

/// A port by number or by name.
pub(in crate::validation) fn number_or_name(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    match port {
        Value::String(name) => errors.complaints(path, name, meta::port_name(name)),
        other => errors.port(path, other.as_i64().unwrap_or(0)),
    }
}
