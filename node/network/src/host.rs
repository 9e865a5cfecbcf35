//! What the host itself needs once: forwarding, and an end for packets to Pods that don't exist.

use crate::{
    Config, Error,
    link::{Kernel, PROTOCOL, set, set_if_there},
    netns,
    state::PREFIX,
};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::{
    link::LinkAttribute,
    route::{RouteMessage, RouteScope, RouteType},
};
use rtnetlink::RouteMessageBuilder;
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

/// Turns forwarding on, and refuses packets to addresses of the pod range that no Pod has: they
/// would leave by the default route and come back.
pub(crate) async fn prepare(config: &Config) -> Result<(), Error> {
    set("ipv4/ip_forward", "1")?;
    set_if_there("ipv4/conf/all/forwarding", "1")?;
    let kernel = Kernel::open()?;
    kernel.route("for unknown pods", dead_end(config.pod_cidr)).await?;
    match services(&kernel, config).await? {
        Some(route) => kernel.route("to services", route).await,
        None => Ok(()),
    }
}

/// The route for Services' addresses, by the uplink: nothing ever leaves by it, as the proxy
/// redirects or refuses.
async fn services(kernel: &Kernel, config: &Config) -> Result<Option<RouteMessage>, Error> {
    let Some(range) = config.service_cidr else { return Ok(None) };
    let index = uplink(kernel, config.node_ip).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .output_interface(index)
        .scope(RouteScope::Link)
        .protocol(PROTOCOL)
        .pref_source(config.node_ip)
        .build();
    Ok(Some(route))
}

/// Takes back what [`prepare`] did to the routes. Forwarding stays: others may rely on it.
pub(crate) async fn restore(config: &Config) -> Result<(), Error> {
    let kernel = Kernel::open()?;
    kernel.unroute("for unknown pods", dead_end(config.pod_cidr)).await?;
    match services(&kernel, config).await? {
        Some(route) => kernel.unroute("to services", route).await,
        None => Ok(()),
    }
}

fn dead_end(range: Ipv4Net) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .kind(RouteType::Unreachable)
        .protocol(PROTOCOL)
        .build()
}

/// The interface that carries the node's address.
async fn uplink(kernel: &Kernel, node_ip: Ipv4Addr) -> Result<u32, Error> {
    let request = kernel.handle.address().get().set_address_filter(IpAddr::V4(node_ip));
    let found = request.execute().try_next().await;
    let address = found.map_err(Error::kernel("list addresses"))?;
    Ok(address.ok_or(Error::NoNodeAddress(node_ip))?.header.index)
}

/// The MTU of the interface that carries the node's address.
pub(crate) async fn uplink_mtu(node_ip: Ipv4Addr) -> Result<u32, Error> {
    let kernel = Kernel::open()?;
    let index = uplink(&kernel, node_ip).await?;
    let link = kernel.handle.link().get().match_index(index).execute().try_next().await;
    let link = link.map_err(Error::kernel("look at the uplink"))?;
    let mtu = link.iter().flat_map(|link| &link.attributes).find_map(|one| match one {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.ok_or(Error::NoNodeAddress(node_ip))
}

/// Removes interfaces that look like ours but belong to no known Pod.
pub(crate) async fn remove_strangers(known: &HashSet<String>) -> Result<(), Error> {
    let kernel = Kernel::open()?;
    for (name, _) in kernel.links().await? {
        let digits = name.strip_prefix(PREFIX).unwrap_or_default();
        let ours = digits.len() == 12 && digits.chars().all(|c| c.is_ascii_hexdigit());
        if ours && !known.contains(&name) {
            tracing::info!(interface = name, "removing interface of no known pod");
            kernel.remove(&name).await?;
        }
    }
    Ok(())
}

/// Tries out in a namespace of its own whether everything needed is allowed here.
pub(crate) async fn probe(dir: &Path) -> Result<(), Error> {
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let made = netns::create(&path).await;
    let removed = netns::remove(&path).await;
    made.and(removed)
}
