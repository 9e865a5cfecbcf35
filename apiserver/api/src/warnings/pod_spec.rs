//! Advice about a pod's spec.

use serde_json::Value;

use super::{address, at, fraction, list, node_term, node_terms, renamed, text, volumes};

/// Key of a list of requirements.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// Key of a list of preferences.
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A spec.
pub(super) fn spec(spec: &Value, path: &str, out: &mut Vec<String>) {
    let selector = spec.get("nodeSelector").and_then(Value::as_object);
    for key in selector.into_iter().flat_map(serde_json::Map::keys) {
        if let Some(why) = renamed(key) {
            out.push(format!("{path}.nodeSelector[{key}]: {why}"));
        }
    }
    affinity(at(spec, "/affinity"), &format!("{path}.affinity"), out);
    spread(spec, path, out);
    pull_secrets(spec, path, out);
    addresses(spec, path, out);
    volumes::pod(spec, path, out);
    for key in ["initContainers", "containers"] {
        for (index, container) in list(spec, &format!("/{key}")).iter().enumerate() {
            self::container(container, &format!("{path}.{key}[{index}]"), out);
        }
    }
    let overhead = spec.get("overhead").and_then(Value::as_object);
    for (name, value) in overhead.into_iter().flatten().filter(|(name, _)| is_bytes(name)) {
        out.extend(fraction(&format!("{path}.overhead[{name}]"), value));
    }
    if at(spec, "/terminationGracePeriodSeconds").as_i64().is_some_and(|seconds| seconds < 0) {
        let what = "must be >= 0; negative values are invalid and will be treated as 1";
        out.push(format!("{path}.terminationGracePeriodSeconds: {what}"));
    }
}

fn is_bytes(name: &str) -> bool {
    matches!(name, "memory" | "ephemeral-storage")
}

fn affinity(affinity: &Value, path: &str, out: &mut Vec<String>) {
    let node = at(affinity, "/nodeAffinity");
    let under = format!("{path}.nodeAffinity");
    node_terms(at(node, &format!("/{REQUIRED}")), &format!("{under}.{REQUIRED}"), out);
    for (index, one) in list(node, &format!("/{PREFERRED}")).iter().enumerate() {
        let path = format!("{under}.{PREFERRED}[{index}].preference");
        node_term(at(one, "/preference"), &path, out);
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let pod = at(affinity, &format!("/{key}"));
        for (index, term) in list(pod, &format!("/{REQUIRED}")).iter().enumerate() {
            null_selector(term, &format!("{path}.{key}.{REQUIRED}[{index}]"), out);
        }
        for (index, one) in list(pod, &format!("/{PREFERRED}")).iter().enumerate() {
            let path = format!("{path}.{key}.{PREFERRED}[{index}].podAffinityTerm");
            null_selector(at(one, "/podAffinityTerm"), &path, out);
        }
    }
}

fn null_selector(holder: &Value, path: &str, out: &mut Vec<String>) {
    if at(holder, "/labelSelector").is_null() {
        let what = "a null labelSelector results in matching no pod";
        out.push(format!("{path}.labelSelector: {what}"));
    }
}

fn spread(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, one) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        if let Some(why) = renamed(text(one, "/topologyKey")) {
            out.push(format!("{path}.topologyKey: {why}"));
        }
        null_selector(one, &path, out);
    }
}

fn pull_secrets(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, secret) in list(spec, "/imagePullSecrets").iter().enumerate() {
        if text(secret, "/name").is_empty() {
            out.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
}

fn addresses(spec: &Value, path: &str, out: &mut Vec<String>) {
    for (index, server) in list(spec, "/dnsConfig/nameservers").iter().enumerate() {
        let path = format!("{path}.dnsConfig.nameservers[{index}]");
        out.extend(address(&path, server.as_str().unwrap_or_default()));
    }
    for (index, alias) in list(spec, "/hostAliases").iter().enumerate() {
        out.extend(address(&format!("{path}.hostAliases[{index}].ip"), text(alias, "/ip")));
    }
}

fn container(container: &Value, path: &str, out: &mut Vec<String>) {
    for key in ["limits", "requests"] {
        let amounts = at(container, &format!("/resources/{key}")).as_object();
        for (name, value) in amounts.into_iter().flatten().filter(|(name, _)| is_bytes(name)) {
            out.extend(fraction(&format!("{path}.resources.{key}[{name}]"), value));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let name = text(variable, "/name");
        if seen.contains(&name) {
            out.push(format!(
                "{path}.env[{index}]: hides previous definition of {name:?}, which may be dropped \
                 when using apply"
            ));
        }
        seen.push(name);
    }
    ports(container, path, out);
}

/// A port's protocol, address and numbers.
fn place(port: &Value) -> (&str, &str, i64, i64) {
    let number = |key: &str| at(port, key).as_i64().unwrap_or(0);
    let (inner, outer) = (number("/containerPort"), number("/hostPort"));
    (text(port, "/protocol"), text(port, "/hostIP"), inner, outer)
}

fn ports(container: &Value, path: &str, out: &mut Vec<String>) {
    let ports = list(container, "/ports");
    for (index, port) in ports.iter().enumerate() {
        let here = format!("{path}.ports[{index}]");
        for (before, other) in ports[..index].iter().enumerate() {
            let (a, b) = (place(port), place(other));
            // With a host port it is a conflict, which is an error.
            if a == b && a.3 == 0 {
                let there = format!("{path}.ports[{before}]");
                out.push(format!("{here}: duplicate port definition with {there}"));
            }
        }
        let (protocol, ip, inner, outer) = place(port);
        if !ip.is_empty() && outer == 0 {
            let name = text(port, "/name");
            out.push(format!(
                "{here}: hostIP set without hostPort: {{Name:{name} HostPort:0 \
                 ContainerPort:{inner} Protocol:{protocol} HostIP:{ip}}}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spec_gets_the_originals_advice() {
        let pod = json!({"containers": [{"name": "c",
            "env": [{"name": "A"}, {"name": "A"}],
            "resources": {"limits": {"memory": "1500m"}},
            "ports": [{"containerPort": 80, "protocol": "TCP", "hostIP": "fd00:0::2"}]}],
            "topologySpreadConstraints": [{"topologyKey": "k"}],
            "hostAliases": [{"ip": "fd00:0::1"}]});
        let mut out = Vec::new();
        spec(&pod, "spec", &mut out);
        assert_eq!(
            out,
            [
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in \
             matching no pod",
                "spec.hostAliases[0].ip: IPv6 address \"fd00:0::1\" should be in RFC 5952 canonical \
             format (\"fd00::1\")",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is \
             invalid, must be an integer",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be \
             dropped when using apply",
                "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 \
             ContainerPort:80 Protocol:TCP HostIP:fd00:0::2}",
            ]
        );
    }
}
