//! Nodes, and the runtimes they offer.

use serde_json::Value;

use super::row::{NONE, Row, UNKNOWN, text};

/// What a label of a role begins with.
const ROLE: &str = "node-role.kubernetes.io/";

/// Cells of a Node.
pub(super) fn node(row: &Row<'_>) -> Vec<Value> {
    let info = |key: &str| Value::from(row.text_or(&format!("/status/nodeInfo/{key}"), UNKNOWN));
    vec![
        row.name(),
        status(row).into(),
        roles(row).into(),
        row.age(),
        row.text("/status/nodeInfo/kubeletVersion").into(),
        address(row, "InternalIP").into(),
        address(row, "ExternalIP").into(),
        info("osImage"),
        kernel(row).into(),
        info("containerRuntimeVersion"),
    ]
}

/// The kernel, and what it is made for if the node says so.
fn kernel(row: &Row<'_>) -> String {
    let version = row.text_or("/status/nodeInfo/kernelVersion", UNKNOWN);
    match row.text("/status/nodeInfo/architecture") {
        "" => version.to_owned(),
        architecture => format!("{version} ({architecture})"),
    }
}

/// Cells of a RuntimeClass.
pub(super) fn runtime_class(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.text("/handler").into(), row.age()]
}

fn status(row: &Row<'_>) -> String {
    let ready = match row.condition("Ready") {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if row.flag("/spec/unschedulable") { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

fn roles(row: &Row<'_>) -> String {
    let labels = row.map("/metadata/labels").into_iter().flatten();
    let role = |(key, value): (&'_ String, &'_ Value)| match key.strip_prefix(ROLE) {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        _ => None,
    };
    let mut roles: Vec<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { NONE.to_owned() } else { roles.join(",") }
}

fn address<'a>(row: &Row<'a>, kind: &str) -> &'a str {
    let mut addresses = row.list("/status/addresses").iter();
    let address = addresses.find(|address| text(address, "/type") == kind);
    address.map_or(NONE, |address| text(address, "/address"))
}
