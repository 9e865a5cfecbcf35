//! A Pod's place in the network: its address, and the namespace that carries it.

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
    Ok(Wire { ips: vec![IpAddr::V4(address.ip)], netns: Some(netns) })
}

/// Takes a Pod off the network and frees its address. May be repeated.
pub(super) async fn disconnect(ctx: &Ctx, id: &Id, pod: &Pod) -> Result<()> {
    match &ctx.network {
        Some(network) if !spec::host_network(pod) => {
            network.teardown_pod(&id.uid).await?;
            network::netns::remove(&netns(ctx, id)).await?;
        }
        _ => ctx.addresses.release(&id.uid),
    }
    Ok(())
}
