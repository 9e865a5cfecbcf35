//! Endpoints.

use serde_json::Value;

use super::super::{
    addresses,
    check::{Errors, Path, has, int, list, text},
};
use crate::meta;

/// Protocols of a port.
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// New Endpoints.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let path = Path::new("subsets");
    for (at, subset) in list(object, "subsets").iter().enumerate() {
        let path = path.index(at);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for key in ["addresses", "notReadyAddresses"] {
            let under = path.child(key);
            for (at, address) in list(subset, key).iter().enumerate() {
                self::address(address, &under.index(at), errors);
            }
        }
        ports(subset, &path, errors);
    }
}

fn address(address: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ip = text(address, "ip");
    let before = errors.len();
    addresses::ip(ip, &path.child("ip"), errors);
    let host = text(address, "hostname");
    let strict = errors.len() == before;
    if !host.is_empty() {
        errors.complaints(&path.child("hostname"), host, meta::dns1123_label(host));
    }
    if has(address, "nodeName") {
        let node = text(address, "nodeName");
        errors.complaints(&path.child("nodeName"), node, meta::dns1123_subdomain(node));
    }
    let leading_zero =
        !strict && addresses::complaint(ip).is_some_and(|why| why.contains("leading"));
    if !leading_zero {
        addresses::endpoint_ip(ip, &path.child("ip"), errors);
    }
}

fn ports(subset: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ports = list(subset, "ports");
    let path = path.child("ports");
    for (at, port) in ports.iter().enumerate() {
        let path = path.index(at);
        match text(port, "name") {
            "" if ports.len() > 1 => errors.required(&path.child("name"), ""),
            "" => {}
            name => errors.complaints(&path.child("name"), name, meta::dns1123_label(name)),
        }
        errors.port(&path.child("port"), int(port, "port").unwrap_or(0));
        match text(port, "protocol") {
            "" => errors.required(&path.child("protocol"), ""),
            protocol => errors.one_of(&path.child("protocol"), protocol, &PROTOCOLS),
        }
        if has(port, "appProtocol") {
            let protocol = text(port, "appProtocol");
            errors.complaints(&path.child("appProtocol"), protocol, meta::qualified_name(protocol));
        }
    }
}

/// Changed Endpoints.
pub(in crate::validation) fn update(new: &Value, _old: &Value, errors: &mut Errors) {
    create(new, errors);
}
