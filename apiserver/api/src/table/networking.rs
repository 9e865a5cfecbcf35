//! Endpoints, ingresses, policies and addresses.

use serde_json::Value;

use super::row::{NONE, Row, UNSET, few, list, plain, text};
use super::service::balancers;

/// How many endpoints, ports or hosts a cell names.
const MOST: usize = 3;

/// Cells of Endpoints.
pub(super) fn endpoints(row: &Row<'_>) -> Vec<Value> {
    let subsets = row.list("/subsets");
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = list(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses.map(str::to_owned));
            continue;
        }
        for port in ports {
            let port = port.get("port").map(plain).unwrap_or_default();
            all.extend(addresses.clone().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{port}"),
                false => format!("{ip}:{port}"),
            }));
        }
    }
    let cell = if subsets.is_empty() { NONE.to_owned() } else { few(all, MOST, ",") };
    vec![row.name(), cell.into(), row.age()]
}

/// Cells of an EndpointSlice.
pub(super) fn endpoint_slice(row: &Row<'_>) -> Vec<Value> {
    let port = |port: &Value| match (port.get("port"), port.get("name")) {
        (Some(number), _) if !number.is_null() => plain(number),
        (_, Some(name)) if !name.is_null() => plain(name),
        _ => "*".to_owned(),
    };
    let ports: Vec<String> = row.list("/ports").iter().map(port).collect();
    let endpoints = row.list("/endpoints").iter();
    let addresses = endpoints.flat_map(|endpoint| list(endpoint, "/addresses"));
    let addresses: Vec<String> = addresses.map(plain).collect();
    let cell = |all: Vec<String>| match few(all, MOST, ",") {
        text if text.is_empty() => Value::from(UNSET),
        text => text.into(),
    };
    vec![row.name(), row.text("/addressType").into(), cell(ports), cell(addresses), row.age()]
}

/// Cells of an Ingress.
pub(super) fn ingress(row: &Row<'_>) -> Vec<Value> {
    let old = row.text("/metadata/annotations/kubernetes.io~1ingress.class");
    let class = match row.text("/spec/ingressClassName") {
        "" if old.is_empty() => NONE,
        "" => old,
        class => class,
    };
    let tls = !row.list("/spec/tls").is_empty();
    vec![
        row.name(),
        class.into(),
        hosts(row).into(),
        balancers(row.object).join(",").into(),
        if tls { "80, 443" } else { "80" }.into(),
        row.age(),
    ]
}

fn hosts(row: &Row<'_>) -> String {
    let rules = row.list("/spec/rules");
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        if hosts.len() == MOST {
            more = true;
            break;
        }
        let host = text(rule, "/host");
        if !host.is_empty() {
            hosts.push(host);
        }
    }
    match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => hosts.join(","),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - MOST),
    }
}

/// Cells of an IngressClass.
pub(super) fn ingress_class(row: &Row<'_>) -> Vec<Value> {
    let parameters = match row.text("/spec/parameters/kind") {
        "" => NONE.to_owned(),
        kind => {
            let group = match row.text("/spec/parameters/apiGroup") {
                "" => String::new(),
                group => format!(".{group}"),
            };
            format!("{kind}{group}/{}", row.text("/spec/parameters/name"))
        }
    };
    vec![row.name(), row.text("/spec/controller").into(), parameters.into(), row.age()]
}

/// Cells of a NetworkPolicy.
pub(super) fn network_policy(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.selector_or_none("/spec/podSelector").into(), row.age()]
}

/// Cells of an IPAddress.
pub(super) fn ip_address(row: &Row<'_>) -> Vec<Value> {
    let part = |key: &str| row.text(&format!("/spec/parentRef/{key}"));
    let mut parent = part("resource").to_owned();
    for (key, before) in [("group", "."), ("namespace", "/"), ("name", "/")] {
        if !part(key).is_empty() {
            parent.push_str(before);
            parent.push_str(part(key));
        }
    }
    vec![row.name(), parent.into(), row.age()]
}

/// Cells of a ServiceCIDR.
pub(super) fn service_cidr(row: &Row<'_>) -> Vec<Value> {
    let ranges: Vec<&str> = row.list("/spec/cidrs").iter().filter_map(Value::as_str).collect();
    vec![row.name(), ranges.join(",").into(), row.age()]
}
