//! Services as environment variables (`FOO_SERVICE_HOST` and the older `FOO_PORT_80_TCP_ADDR`
//! family).

use k8s_openapi::api::core::v1::Service;
use std::sync::Arc;

/// Name of the Service of the API server, which every Pod is told.
const API: (&str, &str) = ("default", "kubernetes");

/// Variables for a Pod of `namespace`; without `links` only those of the API server.
pub(crate) fn variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> Vec<(String, String)> {
    let name = |service: &Service| service.metadata.name.clone().unwrap_or_default();
    let of = |service: &Service| service.metadata.namespace.clone().unwrap_or_default();
    let is_api = |service: &Service| of(service) == API.0 && name(service) == API.1;
    // A Service of the Pod's own namespace wins over the API server's of the same name.
    let mut chosen: Vec<&Service> = services
        .iter()
        .map(AsRef::as_ref)
        .filter(|service| is_api(service) || (links && of(service) == namespace))
        .filter(|service| {
            let own =
                services.iter().any(|other| of(other) == namespace && is_same(other, service));
            of(service) == namespace || !links || !own
        })
        .collect();
    chosen.sort_by_key(|service| name(service));
    chosen.into_iter().flat_map(one).collect()
}

/// Whether two Services have the same name.
fn is_same(one: &Service, other: &Service) -> bool {
    one.metadata.name == other.metadata.name
}

/// Variables of one Service; none when it has no address.
fn one(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    if ip.is_empty() || ip == "None" {
        return Vec::new();
    }
    let prefix = upper(service.metadata.name.as_deref().unwrap_or_default());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut made = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            made.push((format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.port.to_string()));
        }
    }
    for (at, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let low = protocol.to_lowercase();
        let url = format!("{low}://{host}:{}", port.port);
        let full = format!("{prefix}_PORT_{}_{protocol}", port.port);
        if at == 0 {
            made.push((format!("{prefix}_PORT"), url.clone()));
        }
        made.push((full.clone(), url));
        made.push((format!("{full}_PROTO"), low));
        made.push((format!("{full}_PORT"), port.port.to_string()));
        made.push((format!("{full}_ADDR"), ip.to_owned()));
    }
    made
}

/// A name as part of a variable's.
fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, ip: &str) -> Arc<Service> {
        let value = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn services_become_variables_of_their_namespace() {
        let all = [
            service("default", "kubernetes", "10.96.0.1"),
            service("n", "my-web", "10.96.0.2"),
            service("n", "headless", "None"),
            service("other", "db", "10.96.0.3"),
        ];
        let made = variables(&all, "n", true);
        let get = |name: &str| made.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
        assert_eq!(get("KUBERNETES_SERVICE_HOST"), Some("10.96.0.1"));
        assert_eq!(get("MY_WEB_SERVICE_PORT_HTTP"), Some("80"));
        assert_eq!(get("MY_WEB_PORT_80_TCP"), Some("tcp://10.96.0.2:80"));
        assert_eq!(get("MY_WEB_PORT_80_TCP_PROTO"), Some("tcp"));
        assert_eq!(get("DB_SERVICE_HOST"), None);
        assert_eq!(get("HEADLESS_SERVICE_HOST"), None);
        assert!(variables(&all, "n", false).iter().all(|(key, _)| key.starts_with("KUBERNETES")));
    }
}
