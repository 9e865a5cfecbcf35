//! Hosts as network namespaces: each has an address on one bridge, so that it can be cut off like a real one.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use network::netns;
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, new_connection};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use super::layout::{Cluster, Dir};

/// Name of a host's interface inside its namespace.
const INTERFACE: &str = "eth0";
/// Subnets that are tried for a new cluster: 10.199.N.0/24.
const SUBNETS: std::ops::Range<u8> = 1..250;
/// Length of their prefix.
const PREFIX: u8 = 24;

/// The bridge and the namespaces of one cluster.
pub(crate) struct Hosts {
    dir: Dir,
    netlink: Handle,
}

impl Hosts {
    /// Opens the kernel's interfaces.
    pub(crate) fn open(dir: &Dir) -> Result<Self> {
        let (connection, netlink, _) = new_connection().context("opening rtnetlink")?;
        tokio::spawn(connection);
        Ok(Self { dir: dir.clone(), netlink })
    }

    /// A subnet that no interface of this machine is in.
    pub(crate) async fn free_subnet(&self) -> Result<u8> {
        let all = self.netlink.address().get().execute().try_collect::<Vec<_>>().await?;
        let taken: Vec<u8> = all
            .iter()
            .flat_map(|address| &address.attributes)
            .filter_map(|attribute| match attribute {
                netlink_packet_route::address::AddressAttribute::Address(IpAddr::V4(ip)) => {
                    let [a, b, c, _] = ip.octets();
                    (a == 10 && b == 199).then_some(c)
                }
                _ => None,
            })
            .collect();
        let seed = u8::from_str_radix(&self.dir.id()[..2], 16).unwrap_or(1);
        SUBNETS
            .map(|at| (at.wrapping_add(seed)) % 249 + 1)
            .find(|subnet| !taken.contains(subnet))
            .context("all networks 10.199.1.0/24 to 10.199.249.0/24 are in use on this machine")
    }

    fn bridge(&self) -> String {
        format!("tri{}", self.dir.id())
    }

    /// The outer end of a host's cable.
    fn cable(&self, host: &str) -> String {
        let (role, number) = host.split_once('-').unwrap_or((host, ""));
        format!("t{}{}{number}", self.dir.id(), &role[..1])
    }

    /// Makes the bridge and a namespace for each host that wants one.
    pub(crate) async fn build(&self, cluster: &Cluster) -> Result<()> {
        let bridge = self.bridge();
        let made = self.netlink.link().add(LinkBridge::new(&bridge).build()).execute().await;
        made.with_context(|| format!("making bridge {bridge} (this needs root)"))?;
        let index = self.index(&bridge).await?;
        let gateway = IpAddr::V4(cluster.gateway());
        self.netlink.address().add(index, gateway, PREFIX).execute().await?;
        self.up(index).await?;
        for host in &cluster.hosts {
            if host.ip != cluster.gateway() {
                self.plug(&host.name, host.ip, index)
                    .await
                    .with_context(|| format!("making the network namespace of {}", host.name))?;
            }
        }
        Ok(())
    }

    /// Makes a host's namespace and the cable between it and the bridge.
    async fn plug(&self, host: &str, ip: Ipv4Addr, bridge: u32) -> Result<()> {
        let path = self.dir.netns(host);
        netns::create(&path).await?;
        let file = File::open(&path)?;
        let inside = LinkMessageBuilder::<LinkUnspec>::new()
            .name(INTERFACE.to_owned())
            .setns_by_fd(file.as_raw_fd())
            .build();
        let outside = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(self.cable(host))
            .controller(bridge)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
            .build();
        self.netlink.link().add(outside).execute().await?;
        let configured = netns::enter(&path, move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(configure(ip))
        });
        configured.await?
    }

    /// Pulls a host's cable out, or puts it back.
    pub(crate) async fn set_cable(&self, host: &str, plugged: bool) -> Result<()> {
        let index = self.index(&self.cable(host)).await?;
        let link = LinkMessageBuilder::<LinkUnspec>::new().index(index);
        let link = if plugged { link.up() } else { link.down() };
        self.netlink.link().set(link.build()).execute().await?;
        Ok(())
    }

    /// Removes everything that [`build`](Self::build) made, also what a killed run has left.
    pub(crate) async fn remove(&self) -> Result<()> {
        let cables = format!("t{}", self.dir.id());
        let all = self.netlink.link().get().execute().try_collect::<Vec<_>>().await?;
        for link in all {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.as_str()),
                _ => None,
            });
            let ours = name.is_some_and(|name| {
                name == self.bridge() || (name.starts_with(&cables) && name.len() > cables.len())
            });
            if ours {
                // A cable goes with its namespace, perhaps at this very moment.
                let _ = self.netlink.link().del(link.header.index).execute().await;
            }
        }
        if let Ok(hosts) = std::fs::read_dir(self.dir.run_dir().join("hosts")) {
            for host in hosts.flatten() {
                netns::remove(&host.path()).await?;
            }
        }
        Ok(())
    }

    async fn index(&self, name: &str) -> Result<u32> {
        let mut found = self.netlink.link().get().match_name(name.to_owned()).execute();
        let link = found.try_next().await.with_context(|| format!("interface {name}"))?;
        Ok(link.with_context(|| format!("there is no interface {name}"))?.header.index)
    }

    async fn up(&self, index: u32) -> Result<()> {
        let link = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
        self.netlink.link().set(link).execute().await?;
        Ok(())
    }
}

/// Gives the inner end its address; runs inside the namespace.
async fn configure(ip: Ipv4Addr) -> Result<()> {
    let (connection, netlink, _) = new_connection()?;
    let task = tokio::spawn(connection);
    let mut found = netlink.link().get().match_name(INTERFACE.to_owned()).execute();
    let link = found.try_next().await?.context("the inner end of the cable is missing")?;
    let index = link.header.index;
    netlink.address().add(index, IpAddr::V4(ip), PREFIX).execute().await?;
    let up = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
    netlink.link().set(up).execute().await?;
    task.abort();
    Ok(())
}
