//! Direct routes to the other nodes' pod ranges: no tunnel, since all nodes are on one segment.

use crate::{
    Config, Error, Peer,
    link::{Kernel, PROTOCOL},
};
use ipnet::Ipv4Net;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::RouteMessageBuilder;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Makes the direct routes exactly those of `peers`. A peer that can't be reached does not keep the
/// others from getting their routes; the first such error is returned in the end.
pub(crate) async fn sync(config: &Config, peers: &[Peer]) -> Result<(), Error> {
    let kernel = Kernel::open()?;
    let wanted = wanted(config, peers);
    let mut first_error = None;
    let mut there = BTreeMap::new();
    for route in kernel.our_routes().await? {
        let Some((range, gateway)) = read(&route) else { continue };
        there.insert(range, gateway);
        if !wanted.contains_key(&range)
            && let Err(error) = kernel.unroute(&range.to_string(), route).await
        {
            first_error.get_or_insert(error);
        }
    }
    for (range, gateway) in &wanted {
        if there.get(range) == Some(gateway) {
            continue;
        }
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .gateway(*gateway)
            .pref_source(config.node_ip)
            .protocol(PROTOCOL)
            .build();
        if let Err(error) = kernel.route(&range.to_string(), route).await {
            tracing::warn!(%range, %gateway, error = stdx::chain(&error), "no route to node");
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// The wanted routes: range and next hop. A range that overlaps ours is ignored, since our Pods
/// come first.
fn wanted(config: &Config, peers: &[Peer]) -> BTreeMap<Ipv4Net, Ipv4Addr> {
    let mut all = BTreeMap::new();
    for peer in peers.iter().filter(|peer| peer.node_name != config.node_name) {
        for range in &peer.pod_cidrs {
            let overlaps = range.contains(&config.pod_cidr) || config.pod_cidr.contains(range);
            if overlaps {
                tracing::warn!(node = peer.node_name, %range, "pod range overlaps ours");
            } else {
                all.insert(range.trunc(), peer.node_ip);
            }
        }
    }
    all
}

/// Range and next hop of a route of ours; `None` for those without a next hop.
fn read(route: &RouteMessage) -> Option<(Ipv4Net, Ipv4Addr)> {
    let mut range = None;
    let mut gateway = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => {
                range = Ipv4Net::new(*ip, route.header.destination_prefix_length).ok();
            }
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(*ip),
            _ => {}
        }
    }
    range.zip(gateway)
}
