//! Routes to the Pods of other nodes: follows the Node objects.

use crate::config::Config;
use client::Informer;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use network::{Network, Peer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A failed sync is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps routes true until the future is dropped.
pub(crate) async fn run(config: &Config, network: &Network, nodes: &Informer<Node>) {
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    nodes.on_event(move |_| notify.notify_one());
    nodes.synced().await;
    let mut done: Option<Vec<Peer>> = None;
    loop {
        let peers = peers(config, &nodes.list());
        if done.as_ref() != Some(&peers) {
            match network.sync_routes(&peers).await {
                Ok(()) => done = Some(peers),
                Err(error) => {
                    let error = stdx::chain(&error);
                    tracing::warn!(node = config.name, error, "routes not set");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        changed.notified().await;
    }
}

/// The other nodes that have an address and a pod range, sorted by name.
fn peers(config: &Config, nodes: &[Arc<Node>]) -> Vec<Peer> {
    let mut peers: Vec<Peer> = nodes.iter().filter_map(|node| peer(node)).collect();
    peers.retain(|peer| peer.node_name != config.name);
    peers.sort_by(|one, other| one.node_name.cmp(&other.node_name));
    peers
}

/// A node as a peer.
fn peer(node: &Node) -> Option<Peer> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let mut internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    let node_ip = internal.find_map(|address| address.address.parse().ok())?;
    let spec = node.spec.as_ref()?;
    let all = spec.pod_cidrs.clone().or_else(|| spec.pod_cidr.clone().map(|one| vec![one]))?;
    let pod_cidrs: Vec<Ipv4Net> = all.iter().filter_map(|range| range.parse().ok()).collect();
    let node_name = node.metadata.name.clone()?;
    (!pod_cidrs.is_empty()).then_some(Peer { node_name, node_ip, pod_cidrs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_with_address_and_range_are_peers() {
        let node = |name: &str, range: Option<&str>| {
            let node = json!({
                "metadata": {"name": name},
                "spec": {"podCIDR": range},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.2"}]},
            });
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        };
        let config = Config::new("me", "10.0.0.1".parse().unwrap(), std::path::Path::new("/x"));
        let all = [
            node("b", Some("10.244.2.0/24")),
            node("a", Some("10.244.1.0/24")),
            node("me", Some("10.244.0.0/24")),
            node("new", None),
        ];
        let names: Vec<_> = peers(&config, &all).into_iter().map(|peer| peer.node_name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
