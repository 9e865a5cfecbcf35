//! Connects one Pod: a veth pair, whose end in the Pod has the Pod's address alone (/32) and sends
//! everything to a link-local gateway that does not exist anywhere else.
//!
//! Both ends know each other's hardware address for good, so that no address resolution happens on
//! them: proxy ARP would fail silently on a host without a default route.

use crate::{
    Config, Error,
    link::{self, Kernel, PROTOCOL},
    netns,
    state::Lease,
};
use netlink_packet_route::{
    link::{InfoData, InfoKind, InfoVeth},
    route::RouteScope,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd,
    path::Path,
};

/// Where Pods send everything to.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Hardware address of the host's end of every pair.
const HOST_MAC: [u8; 6] = [0xee; 6];
/// Name of the Pod's interface.
const INTERFACE: &str = "eth0";

/// Hardware address of a Pod's end: its IP address, locally administered.
fn pod_mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Makes or repairs a Pod's connection.
pub(crate) async fn connect(config: &Config, lease: &Lease, path: &Path) -> Result<(), Error> {
    let kernel = Kernel::open()?;
    let there = kernel.find(&lease.interface).await?.is_some();
    if there && configure_inside(path, lease.ip).await.is_err() {
        // The pair's other end is not in this namespace: it is of an earlier sandbox of the Pod.
        kernel.remove(&lease.interface).await?;
    }
    if !there || kernel.find(&lease.interface).await?.is_none() {
        create_pair(&kernel, config, lease, path).await?;
        configure_inside(path, lease.ip).await?;
    }
    let index = kernel.index(&lease.interface).await?;
    kernel.up(index).await?;
    kernel.neighbour(index, lease.ip, pod_mac(lease.ip)).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(lease.ip, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .protocol(PROTOCOL)
        .pref_source(config.node_ip)
        .build();
    kernel.route(&lease.ip.to_string(), route).await
}

/// Removes a Pod's connection. The other end and the routes go with the host's end.
pub(crate) async fn disconnect(lease: &Lease) -> Result<(), Error> {
    Kernel::open()?.remove(&lease.interface).await
}

/// Brings up the loopback interface of a new namespace.
pub(crate) async fn raise_loopback(path: &Path) -> Result<(), Error> {
    netns::enter(path, || {
        link::block_on(async {
            let kernel = Kernel::open()?;
            let index = kernel.index("lo").await?;
            kernel.up(index).await
        })
    })
    .await?
}

/// Makes the pair; its other end is born inside the Pod's namespace.
async fn create_pair(
    kernel: &Kernel,
    config: &Config,
    lease: &Lease,
    path: &Path,
) -> Result<(), Error> {
    let namespace = File::open(path).map_err(Error::io("open network namespace", path))?;
    let mut inside = LinkMessageBuilder::<LinkUnspec>::new()
        .name(INTERFACE.to_owned())
        .address(pod_mac(lease.ip).to_vec())
        .setns_by_fd(namespace.as_raw_fd());
    let mut outside = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(lease.interface.clone())
        .address(HOST_MAC.to_vec());
    if let Some(mtu) = config.mtu {
        inside = inside.mtu(mtu);
        outside = outside.mtu(mtu);
    }
    let outside = outside.set_info_data(InfoData::Veth(InfoVeth::Peer(inside.build()))).build();
    let made = kernel.handle.link().add(outside).execute().await;
    made.map_err(Error::kernel(format!("make interface {}", lease.interface)))
}

/// Gives the Pod's end its address and routes. Fails when that end is not there.
async fn configure_inside(path: &Path, ip: Ipv4Addr) -> Result<(), Error> {
    netns::enter(path, move || {
        link::block_on(async move {
            let kernel = Kernel::open()?;
            let index = kernel.index(INTERFACE).await?;
            let loopback = kernel.index("lo").await?;
            kernel.up(loopback).await?;
            let address = kernel.handle.address().add(index, IpAddr::V4(ip), 32);
            let added = address.replace().execute().await;
            added.map_err(Error::kernel(format!("set address {ip}")))?;
            kernel.up(index).await?;
            kernel.neighbour(index, GATEWAY, HOST_MAC).await?;
            let gateway = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(GATEWAY, 32)
                .output_interface(index)
                .scope(RouteScope::Link)
                .build();
            kernel.route("to the gateway", gateway).await?;
            let default = RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(GATEWAY)
                .output_interface(index)
                .pref_source(ip)
                .build();
            kernel.route("default", default).await
        })
    })
    .await?
}
