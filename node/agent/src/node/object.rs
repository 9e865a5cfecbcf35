//! The Node object as this agent makes it. Pure.

use super::machine::Machine;
use crate::config::Config;
use crate::pod::amount;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::Image;
use std::collections::BTreeMap;

/// Images that a status names at most.
const MAX_IMAGES: usize = 50;
/// Memory that Pods may not ask for, because below it the node is under pressure.
const MEMORY_KEPT: i64 = 100 << 20;

/// What the node has.
pub(crate) fn capacity(config: &Config, machine: Machine) -> amount::List {
    let mut made = BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory / 1024))),
        ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", machine.disk / 1024))),
        ("pods".to_owned(), Quantity(config.max_pods.to_string())),
        ("hugepages-2Mi".to_owned(), Quantity("0".into())),
        ("hugepages-1Gi".to_owned(), Quantity("0".into())),
    ]);
    made.extend(config.capacity.clone());
    made
}

/// What Pods may ask for: all, less what must stay free.
pub(crate) fn allocatable(config: &Config, capacity: &amount::List) -> amount::List {
    let mut made = capacity.clone();
    // A capacity that was told is meant as it is.
    if !config.capacity.contains_key("memory")
        && let Some(memory) = made.get_mut("memory")
    {
        let left = (amount::whole(memory) - MEMORY_KEPT).max(0);
        *memory = Quantity(format!("{}Ki", left / 1024));
    }
    if !config.capacity.contains_key("ephemeral-storage")
        && let Some(disk) = made.get_mut("ephemeral-storage")
    {
        *disk = Quantity((amount::whole(disk) / 10 * 9).to_string());
    }
    made
}

/// Labels that every node has, and the configured ones.
pub(crate) fn labels(config: &Config) -> BTreeMap<String, String> {
    let arch = super::machine::architecture();
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), config.name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), arch.to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), arch.to_owned()),
    ]);
    labels.extend(config.labels.clone());
    labels
}

/// The Node as it is registered; its status follows.
pub(crate) fn node(config: &Config, status: NodeStatus) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(config.name.clone()),
            labels: Some(labels(config)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status),
    }
}

/// The status, except its conditions.
pub(crate) fn status(
    config: &Config,
    capacity: &amount::List,
    info: &NodeSystemInfo,
    images: &[Image],
) -> NodeStatus {
    let address = |type_: &str, address: String| NodeAddress { address, type_: type_.into() };
    let port = config.listen.map(|at| DaemonEndpoint { port: i32::from(at.port()) });
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", config.node_ip.to_string()),
            address("Hostname", config.name.clone()),
        ]),
        allocatable: Some(allocatable(config, capacity)),
        capacity: Some(capacity.clone()),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: port }),
        images: Some(named(images)).filter(|images| !images.is_empty()),
        node_info: Some(info.clone()),
        ..NodeStatus::default()
    }
}

/// Images as a status names them, largest first.
fn named(images: &[Image]) -> Vec<ContainerImage> {
    let mut made: Vec<ContainerImage> = images
        .iter()
        .map(|image| ContainerImage {
            names: Some(image.tags.clone()).filter(|names| !names.is_empty()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect();
    made.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
    made.truncate(MAX_IMAGES);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_that_are_told_replace_the_machines() {
        let mut config =
            Config::new("n", "10.0.0.1".parse().unwrap(), std::path::Path::new("/tmp/x"));
        config.capacity.insert("cpu".into(), Quantity("8".into()));
        config.listen = Some("10.0.0.1:10250".parse().unwrap());
        let machine = Machine { cpus: 2, memory: 1 << 30, disk: 10 << 30 };
        let capacity = capacity(&config, machine);
        assert_eq!(capacity["cpu"].0, "8");
        assert_eq!(capacity["memory"].0, "1048576Ki");
        let made = status(&config, &capacity, &NodeSystemInfo::default(), &[]);
        assert_eq!(made.allocatable.unwrap()["memory"].0, "946176Ki");
        let port = made.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port;
        assert_eq!(port, 10250);
    }
}
