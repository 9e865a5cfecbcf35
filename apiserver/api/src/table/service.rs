//! Services: where they can be reached.

use serde_json::Value;

use super::row::{NONE, Row, list, plain, text};

/// Cells of a Service.
pub(super) fn service(row: &Row<'_>) -> Vec<Value> {
    vec![
        row.name(),
        row.text("/spec/type").into(),
        row.text_or("/spec/clusterIPs/0", NONE).into(),
        external(row).into(),
        ports(row).into(),
        row.age(),
        row.labels("/spec/selector").into(),
    ]
}

fn external(row: &Row<'_>) -> String {
    let mut all = Vec::new();
    match row.text("/spec/type") {
        "ExternalName" => return row.text("/spec/externalName").to_owned(),
        "ClusterIP" | "NodePort" => {}
        "LoadBalancer" => all.extend(balancers(row.object)),
        _ => return "<unknown>".to_owned(),
    }
    let own = row.list("/spec/externalIPs").iter().filter_map(Value::as_str);
    all.extend(own.map(str::to_owned));
    match all.is_empty() {
        true if row.text("/spec/type") == "LoadBalancer" => "<pending>".to_owned(),
        true => NONE.to_owned(),
        false => all.join(","),
    }
}

/// Addresses of load balancers, sorted.
pub(super) fn balancers(object: &Value) -> Vec<String> {
    let entries = list(object, "/status/loadBalancer/ingress").iter();
    let address = |entry: &Value| match text(entry, "/ip") {
        "" => text(entry, "/hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let mut all: Vec<String> = entries.map(address).filter(|text| !text.is_empty()).collect();
    all.sort();
    all.dedup();
    all
}

fn ports(row: &Row<'_>) -> String {
    let port = |port: &Value| {
        let number = |key: &str| port.get(key).map(plain).unwrap_or_default();
        let protocol = text(port, "/protocol");
        match number("nodePort").as_str() {
            "" | "0" => format!("{}/{protocol}", number("port")),
            node => format!("{}:{node}/{protocol}", number("port")),
        }
    };
    let all: Vec<String> = row.list("/spec/ports").iter().map(port).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(",") }
}
