//! Ports of the node that lead to its Pods (`hostPort`): who wants which, told to whoever proxies
//! Services on this node.

use super::spec::{self, Kind};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// A port of the node that leads to a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The node's address it is open at; unspecified for all of them.
    pub host_ip: Ipv4Addr,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number.
    pub host_port: u16,
    /// The Pod's address.
    pub pod_ip: Ipv4Addr,
    /// The port in the Pod.
    pub container_port: u16,
}

/// Opens ports of the node.
pub trait HostPorts: Send + Sync + 'static {
    /// Sets the ports of a Pod; none takes them away.
    fn set(&self, uid: &str, ports: Vec<HostPort>);
}

/// The ports that a Pod with this address wants.
pub(crate) fn wanted(pod: &Pod, ips: &[IpAddr]) -> Vec<HostPort> {
    let ip = ips.iter().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    });
    let Some(pod_ip) = ip.filter(|_| !spec::host_network(pod)) else { return Vec::new() };
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port > 0);
    let lasting = |(kind, _): &(Kind, Cow<Container>)| *kind != Kind::Ephemeral;
    let containers = spec::containers(pod).into_iter().filter(lasting);
    let ports = containers.flat_map(|(_, one)| one.ports.clone().unwrap_or_default());
    ports
        .filter_map(|port| {
            let host_ip = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
            Some(HostPort {
                host_ip: host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
                protocol: port.protocol.unwrap_or_else(|| "TCP".into()),
                host_port: number(port.host_port?)?,
                pod_ip,
                container_port: number(port.container_port)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_of_all_lasting_containers_are_wanted_unless_the_network_is_the_nodes() {
        let pod = |host: bool| -> Pod {
            let spec = json!({
                "hostNetwork": host,
                "initContainers": [{"name": "s", "restartPolicy": "Always",
                    "ports": [{"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}]}],
                "containers": [{"name": "c", "ports": [{"containerPort": 80},
                    {"containerPort": 81, "hostPort": 8081, "hostIP": "10.0.0.1"}]}],
            });
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let ips: Vec<IpAddr> = vec!["10.244.0.9".parse().unwrap()];
        let found = wanted(&pod(false), &ips);
        let short: Vec<String> = found
            .iter()
            .map(|p| format!("{} {}:{} {}", p.protocol, p.host_ip, p.host_port, p.container_port))
            .collect();
        assert_eq!(short, ["UDP 0.0.0.0:5353 53", "TCP 10.0.0.1:8081 81"]);
        assert!(wanted(&pod(true), &ips).is_empty());
    }
}
