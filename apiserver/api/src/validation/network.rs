//! EndpointSlices, NetworkPolicies, IPAddresses, ServiceCIDRs.

use serde_json::Value;

use super::{
    addresses,
    check::{Errors, Path, at, get, has, int, list, text, texts},
    selectors::{Strictness, label_selector},
};
use crate::meta;

/// Protocols of a port.
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// Endpoints of a slice.
const MOST_ENDPOINTS: usize = 1000;
/// Addresses of an endpoint.
const MOST_ADDRESSES: usize = 100;
/// Ports of a slice.
const MOST_PORTS: usize = 20_000;
/// Hints of an endpoint.
const MOST_HINTS: usize = 8;

/// A new EndpointSlice.
pub(super) fn endpoint_slice(object: &Value, errors: &mut Errors) {
    let kind = text(object, "addressType");
    let path = Path::new("addressType");
    match kind {
        "" => errors.required(&path, ""),
        kind => errors.one_of(&path, kind, &["FQDN", "IPv4", "IPv6"]),
    }
    slice_ports(object, errors);
    let path = Path::new("endpoints");
    let all = list(object, "endpoints");
    if all.len() > MOST_ENDPOINTS {
        errors.too_many(&path, all.len(), MOST_ENDPOINTS);
    }
    for (index, endpoint) in all.iter().enumerate() {
        self::endpoint(endpoint, kind, &path.index(index), errors);
    }
}

fn endpoint(endpoint: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let all = list(endpoint, "addresses");
    let under = path.child("addresses");
    if all.is_empty() {
        errors.late(|errors| errors.required(&under, ""));
    } else if all.len() > MOST_ADDRESSES {
        errors.too_many(&under, all.len(), MOST_ADDRESSES);
    }
    for (index, address) in texts(endpoint, "addresses").enumerate() {
        self::address(address, kind, &under, index, errors);
    }
    if let Some(node) = get(endpoint, "nodeName").as_str() {
        errors.complaints(&path.child("nodeName"), node, meta::dns1123_subdomain(node));
    }
    if let Some(host) = get(endpoint, "hostname").as_str() {
        errors.complaints(&path.child("hostname"), host, meta::dns1123_label(host));
    }
    hints(get(endpoint, "hints"), &path.child("hints"), errors);
}

fn address(address: &str, kind: &str, under: &Path<'_>, index: usize, errors: &mut Errors) {
    let path = under.index(index);
    match kind {
        "IPv4" | "IPv6" => {
            let before = errors.len();
            addresses::canonical_ip(address, &path, errors);
            let parsed = address.parse::<std::net::IpAddr>();
            if let Ok(ip) = parsed
                && ip.is_ipv4() != (kind == "IPv4")
            {
                let article = format!("must be an {kind} address");
                errors.invalid(under, address, &article);
                return;
            }
            if errors.len() == before {
                addresses::endpoint_ip(address, &path, errors);
            }
        }
        "FQDN" => {
            let bare = address.strip_suffix('.').unwrap_or(address);
            let complaints = meta::dns1123_subdomain(bare);
            if !complaints.is_empty() {
                errors.complaints(&path, address, complaints);
            } else if !bare.contains('.') {
                let why = "should be a domain with at least two segments separated by dots";
                errors.invalid(&path, address, why);
            }
        }
        _ => {}
    }
}

fn hints(hints: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (key, check) in [
        ("forZones", meta::label_value as fn(&str) -> Vec<String>),
        ("forNodes", meta::dns1123_subdomain),
    ] {
        let all = list(hints, key);
        let path = path.child(key);
        if all.len() > MOST_HINTS {
            errors.too_many(&path, all.len(), MOST_HINTS);
            continue;
        }
        let mut seen = Vec::new();
        for (index, hint) in all.iter().enumerate() {
            let name = text(hint, "name");
            let at_name = path.index(index);
            let at_name = at_name.child("name");
            if seen.contains(&name) {
                errors.duplicate(&at_name, name);
            }
            seen.push(name);
            errors.complaints(&at_name, name, check(name));
        }
    }
}

fn slice_ports(object: &Value, errors: &mut Errors) {
    let all = list(object, "ports");
    let path = Path::new("ports");
    if all.len() > MOST_PORTS {
        errors.too_many(&path, all.len(), MOST_PORTS);
        return;
    }
    let mut seen = Vec::new();
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            errors.complaints(&path.child("name"), name, meta::dns1123_label(name));
        }
        if seen.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        seen.push(name);
        match get(port, "protocol").as_str() {
            None => errors.required(&path.child("protocol"), ""),
            Some(protocol) => errors.one_of(&path.child("protocol"), protocol, &PROTOCOLS),
        }
        if let Some(protocol) = get(port, "appProtocol").as_str() {
            errors.complaints(&path.child("appProtocol"), protocol, meta::qualified_name(protocol));
        }
    }
}

/// A changed EndpointSlice.
pub(super) fn endpoint_slice_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "addressType") == get(old, "addressType") {
        endpoint_slice(new, errors);
    } else {
        errors.invalid(&Path::new("addressType"), Value::Null, "field is immutable");
    }
}

/// A new NetworkPolicy.
pub(super) fn policy(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let selector = get(spec, "podSelector");
    label_selector(selector, &path.child("podSelector"), Strictness::default(), errors);
    for (key, peers) in [("ingress", "from"), ("egress", "to")] {
        let path = path.child(key);
        for (index, rule) in list(spec, key).iter().enumerate() {
            let path = path.index(index);
            policy_ports(rule, &path, errors);
            let under = path.child(peers);
            for (index, peer) in list(rule, peers).iter().enumerate() {
                self::peer(peer, &under.index(index), errors);
            }
        }
    }
    let types = list(spec, "policyTypes");
    let under = path.child("policyTypes");
    if types.len() > 2 {
        let why = "may not specify more than two policyTypes";
        errors.invalid(&under, get(spec, "policyTypes").clone(), why);
        return;
    }
    for (index, kind) in texts(spec, "policyTypes").enumerate() {
        errors.one_of(&under.index(index), kind, &["Egress", "Ingress"]);
    }
}

fn policy_ports(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("ports");
    for (index, port) in list(rule, "ports").iter().enumerate() {
        let path = path.index(index);
        if let Some(protocol) = get(port, "protocol").as_str() {
            errors.one_of(&path.child("protocol"), protocol, &PROTOCOLS);
        }
        let (first, last) = (get(port, "port"), int(port, "endPort"));
        let at_end = path.child("endPort");
        match first {
            Value::Null => {
                if last.is_some() {
                    errors.required(&path.child("port"), "must be specified when `endPort` is set");
                }
            }
            Value::String(name) => {
                if last.is_some() {
                    let why = "may not be specified when `port` is non-numeric";
                    errors.forbidden(&at_end, why);
                }
                errors.complaints(&path.child("port"), name, meta::port_name(name));
            }
            number => {
                let number = number.as_i64().unwrap_or(0);
                errors.port(&path.child("port"), number);
                if let Some(last) = last {
                    if last < number {
                        let why = "must be greater than or equal to `port`";
                        errors.invalid(&at_end, number, why);
                    }
                    errors.port(&at_end, last);
                }
            }
        }
    }
}

fn peer(peer: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut count = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if has(peer, key) {
            count += 1;
            label_selector(get(peer, key), &path.child(key), Strictness::default(), errors);
        }
    }
    let block = get(peer, "ipBlock");
    if !block.is_null() {
        count += 1;
        ip_block(block, &path.child("ipBlock"), errors);
        if count > 1 {
            let why = "may not specify both ipBlock and another peer";
            errors.forbidden(path, why);
        }
    }
    if count == 0 {
        errors.required(path, "must specify a peer");
    }
}

fn ip_block(block: &Value, path: &Path<'_>, errors: &mut Errors) {
    let range = text(block, "cidr");
    if range.is_empty() {
        errors.required(&path.child("cidr"), "");
        return;
    }
    // Odd but readable ranges only get a warning.
    let lenient =
        |text: &str| addresses::cidr_complaint(text).filter(|why| !why.contains("beyond"));
    if let Some(why) = lenient(range) {
        errors.invalid(&path.child("cidr"), range, &why);
        return;
    }
    let outer = range.parse::<ipnet::IpNet>();
    let under = path.child("except");
    for (index, except) in texts(block, "except").enumerate() {
        let path = under.index(index);
        if let Some(why) = lenient(except) {
            errors.invalid(&path, except, &why);
            continue;
        }
        let inner = except.parse::<ipnet::IpNet>();
        if let (Ok(outer), Ok(inner)) = (&outer, inner)
            && (!outer.contains(&inner.network()) || outer.prefix_len() >= inner.prefix_len())
        {
            errors.invalid(&path, except, "must be a strict subset of `cidr`");
        }
    }
}

/// A changed NetworkPolicy.
pub(super) fn policy_update(new: &Value, _old: &Value, errors: &mut Errors) {
    policy(new, errors);
}

/// A new IPAddress.
pub(super) fn ip_address(object: &Value, errors: &mut Errors) {
    let parent = at(object, "/spec/parentRef");
    let path = Path::new("spec");
    let path = path.child("parentRef");
    if parent.is_null() {
        errors.required(&path, "");
        return;
    }
    let group = text(parent, "group");
    if !group.is_empty() {
        errors.complaints(&path.child("group"), group, meta::dns1123_subdomain(group));
    }
    let namespace = text(parent, "namespace");
    if !namespace.is_empty() {
        errors.complaints(&path.child("namespace"), namespace, meta::path_segment(namespace));
    }
    match text(parent, "resource") {
        "" => errors.required(&path.child("resource"), ""),
        name => errors.complaints(&path.child("resource"), name, meta::path_segment(name)),
    }
    match text(parent, "name") {
        "" => errors.required(&path.child("name"), ""),
        name => errors.complaints(&path.child("name"), name, meta::path_segment(name)),
    }
}

/// A changed IPAddress.
pub(super) fn ip_address_update(new: &Value, old: &Value, errors: &mut Errors) {
    let pointer = "/spec/parentRef";
    if at(new, pointer) != at(old, pointer) {
        let path = Path::new("spec");
        errors.invalid(&path.child("parentRef"), Value::Null, "field is immutable");
    }
}

/// Names of IPAddresses are addresses.
pub(super) fn ip_name(name: &str, _prefix: bool) -> Vec<String> {
    let mut errors = Errors::default();
    addresses::canonical_ip(name, &Path::new("name"), &mut errors);
    errors.0.into_iter().map(|error| error.detail).collect()
}

/// A new ServiceCIDR.
pub(super) fn service_cidr(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let path = path.child("cidrs");
    let count = list(spec, "cidrs").len();
    if count == 0 {
        errors.required(&path, "at least one CIDR required");
        return;
    }
    if count > 2 {
        let why = "may only hold up to 2 values";
        errors.invalid(&path, get(spec, "cidrs").clone(), why);
    }
    for (index, range) in texts(spec, "cidrs").enumerate() {
        addresses::cidr(range, &path.index(index), errors);
    }
    let six: Vec<bool> = texts(spec, "cidrs").map(|range| range.contains(':')).collect();
    if six.len() == 2 && six[0] == six[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and \
                   2001:db8::/64";
        errors.invalid(&path, get(spec, "cidrs").clone(), why);
    }
}

/// A changed ServiceCIDR.
pub(super) fn service_cidr_update(new: &Value, old: &Value, errors: &mut Errors) {
    let pointer = "/spec/cidrs";
    if at(new, pointer) != at(old, pointer) {
        let path = Path::new("spec");
        let value = at(new, pointer).clone();
        errors.invalid(&path.child("cidrs"), value, "field is immutable");
    }
}
