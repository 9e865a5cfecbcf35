//! A Pod's place in the network: its address, and the namespace that carries it.

use super::host_port;
use super::spec::{self, Id};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use k8s_openapi::api::core::v1::Pod;
use std::net::IpAddr;
use std::path::PathBuf;

/// How a Pod is wired.
pub(super) struct Wire {
    /// Its addresses.
    pub(super) ips: Vec<IpAddr>,
    /// Its network namespace, where it has one that we made.
    pub(super) netns: Option<PathBuf>,
}

/// Where a Pod's network namespace is bound.
fn netns(ctx: &Ctx, id: &Id) -> PathBuf {
    ctx.config.netns_dir.join(&id.uid)
}

/// Gives a Pod its address. May be repeated.
pub(super) async fn connect(ctx: &Ctx, id: &Id, pod: &Pod) -> Result<Wire> {
    if spec::host_network(pod) {
        return Ok(Wire { ips: vec![ctx.config.node_ip], netns: None });
    }
    let Some(network) = &ctx.network else {
        let ip = ctx.addresses.acquire(&id.uid);
        let ip = ip.ok_or_else(|| Error::Pod("no address is left for the pod".into()))?;
        return Ok(Wire { ips: vec![IpAddr::V4(ip)], netns: None });
    };
    let netns = netns(ctx, id);
    network::netns::create(&netns).await?;
    let name = format!("{}/{}", id.namespace, id.name);
    let request = network::PodRequest { uid: id.uid.clone(), name, netns: netns.clone() };
    let address = network.setup_pod(&request).await?;
    let ips = vec![IpAddr::V4(address.ip)];
    open_ports(ctx, id, pod, &ips);
    Ok(Wire { ips, netns: Some(netns) })
}

/// Opens the ports of the node that a Pod with these addresses wants. May be repeated.
pub(super) fn open_ports(ctx: &Ctx, id: &Id, pod: &Pod, ips: &[IpAddr]) {
    if let Some(ports) = &ctx.ports {
        ports.set(&id.uid, host_port::wanted(pod, ips));
    }
}

/// Takes a Pod off the network and frees its address. May be repeated.
pub(super) async fn disconnect(ctx: &Ctx, id: &Id, pod: &Pod) -> Result<()> {
    open_ports(ctx, id, pod, &[]);
    match &ctx.network {
        Some(network) if !spec::host_network(pod) => {
            network.teardown_pod(&id.uid).await?;
            network::netns::remove(&netns(ctx, id)).await?;
        }
        _ => ctx.addresses.release(&id.uid),
    }
    Ok(())
}
