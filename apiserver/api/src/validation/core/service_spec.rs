//! What of a Service depends on its type: addresses, load balancing, traffic policies.

use serde_json::Value;

use super::super::{
    addresses,
    check::{Errors, Path, get, has, int, list, text, texts},
};
use crate::meta;

/// A Service without an address of its own.
const NONE: &str = "None";

fn kind(spec: &Value) -> &str {
    text(spec, "type")
}

/// Whether it has no address of its own, by either field.
pub(super) fn is_headless(spec: &Value) -> bool {
    let mut ips = texts(spec, "clusterIPs");
    text(spec, "clusterIP") == NONE || ips.next() == Some(NONE) && ips.next().is_none()
}

/// What a type needs and what it can't have.
pub(super) fn by_type(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ips = path.child("clusterIPs");
    match kind(spec) {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {} services", kind(spec));
            errors.invalid(&ips.index(0), NONE, &why);
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies"] {
                if !list(spec, key).is_empty() {
                    let why = "may not be set for ExternalName services";
                    errors.forbidden(&path.child(key), why);
                }
            }
            if has(spec, "ipFamilyPolicy") {
                let why = "may not be set for ExternalName services";
                errors.forbidden(&path.child("ipFamilyPolicy"), why);
            }
            let name = text(spec, "externalName");
            let bare = name.strip_suffix('.').unwrap_or(name);
            let at = path.child("externalName");
            if bare.is_empty() {
                errors.required(&at, "");
            } else {
                errors.complaints(&at, name, meta::dns1123_subdomain(bare));
            }
        }
        _ => {}
    }
}

/// Addresses and families.
pub(super) fn addresses(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if kind(spec) == "ExternalName" {
        return;
    }
    families(spec, path, errors);
    let ips: Vec<&str> = texts(spec, "clusterIPs").collect();
    let single = text(spec, "clusterIP");
    let under = path.child("clusterIPs");
    let shown = || get(spec, "clusterIPs").clone();
    if single.is_empty() && !ips.is_empty() {
        errors.invalid(&under, shown(), "must be empty when `clusterIP` is not specified");
    } else if !single.is_empty() {
        match ips.first() {
            None => errors.required(&under, ""),
            Some(first) if *first != single => {
                errors.invalid(&under, shown(), "first value must match `clusterIP`");
            }
            Some(_) => {}
        }
    }
    for (at, ip) in ips.iter().enumerate() {
        let path = under.index(at);
        if *ip == NONE {
            if ips.len() > 1 {
                errors.invalid(&under, shown(), "'None' must be the first and only value");
                break;
            }
            continue;
        }
        addresses::ip(ip, &path, errors);
    }
    if ips.len() > 2 {
        let why = "may only hold up to 2 values";
        errors.invalid(&under, shown(), why);
    }
    let parsed = ips.iter().filter_map(|ip| ip.parse::<std::net::IpAddr>().ok());
    let six: Vec<bool> = parsed.map(|ip| ip.is_ipv6()).collect();
    if six.len() == 2 && six[0] == six[1] {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid(&under, shown(), why);
    }
}

fn families(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if has(spec, "ipFamilyPolicy") {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        let policy = text(spec, "ipFamilyPolicy");
        errors.one_of(&path.child("ipFamilyPolicy"), policy, &known);
    }
    let under = path.child("ipFamilies");
    let mut seen = Vec::new();
    for (at, family) in texts(spec, "ipFamilies").enumerate() {
        errors.one_of(&under.index(at), family, &["IPv4", "IPv6"]);
        if seen.contains(&family) {
            errors.duplicate(&under.index(at), family);
        }
        seen.push(family);
    }
}

/// Addresses that others route here.
pub(super) fn external_ips(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("externalIPs");
    for (at, ip) in texts(spec, "externalIPs").enumerate() {
        let path = path.index(at);
        match addresses::complaint(ip) {
            Some(why) => errors.invalid(&path, ip, &why),
            None => addresses::endpoint_ip(ip, &path, errors),
        }
    }
}

/// What only load balancers have.
pub(super) fn balancer(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let balanced = kind(spec) == "LoadBalancer";
    let ranges = list(spec, "loadBalancerSourceRanges");
    // Upstream's own spelling of the path.
    let under = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() {
        if !balanced {
            errors.forbidden(&under, "may only be used when `type` is 'LoadBalancer'");
        }
        for (at, range) in texts(spec, "loadBalancerSourceRanges").enumerate() {
            // Blanks around a range are allowed.
            if let Some(why) =
                addresses::cidr_complaint(range.trim()).filter(|why| !why.contains("beyond"))
            {
                errors.invalid(&under.index(at), range, &why);
            }
        }
    }
    let only = "may only be used when `type` is 'LoadBalancer'";
    if !balanced && has(spec, "allocateLoadBalancerNodePorts") {
        errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), only);
    }
    if balanced && !has(spec, "allocateLoadBalancerNodePorts") {
        errors.required(&path.child("allocateLoadBalancerNodePorts"), "");
    }
    if let Some(class) = get(spec, "loadBalancerClass").as_str() {
        let at = path.child("loadBalancerClass");
        if balanced {
            errors.complaints(&at, class, meta::qualified_name(class));
        } else {
            errors.forbidden(&at, only);
        }
    }
}

/// Where traffic may go.
pub(super) fn traffic(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = kind(spec);
    let outside = matches!(kind, "LoadBalancer" | "NodePort")
        || kind == "ClusterIP" && !list(spec, "externalIPs").is_empty();
    let policy = text(spec, "externalTrafficPolicy");
    let at_policy = path.child("externalTrafficPolicy");
    if outside {
        if policy.is_empty() {
            errors.required(&at_policy, "");
        } else {
            errors.one_of(&at_policy, policy, &["Cluster", "Local"]);
        }
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.invalid(&at_policy, policy, why);
    }
    health(spec, kind, policy, path, errors);
    let inner = path.child("internalTrafficPolicy");
    if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP")
        && !has(spec, "internalTrafficPolicy")
    {
        errors.required(&inner, "");
    }
    if let Some(policy) = get(spec, "internalTrafficPolicy").as_str() {
        errors.one_of(&inner, policy, &["Cluster", "Local"]);
    }
    if let Some(value) = get(spec, "trafficDistribution").as_str() {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.one_of(&path.child("trafficDistribution"), value, &known);
    }
}

fn health(spec: &Value, kind: &str, policy: &str, path: &Path<'_>, errors: &mut Errors) {
    let number = int(spec, "healthCheckNodePort").unwrap_or(0);
    let needed = kind == "LoadBalancer" && policy == "Local";
    if number != 0 && !needed {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is \
                   'Local'";
        errors.invalid(&path.child("healthCheckNodePort"), number, why);
    }
    // Ports that can't be had are refused where they are handed out.
    if needed && number > 65_535 {
        errors.port(&path.child("healthCheckNodePort"), number);
    }
}
