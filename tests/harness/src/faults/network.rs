//! A host for each member: network namespaces on one bridge. Traffic between any two of them can be
//! dropped, in one direction or both; the test itself reaches all of them at all times.

use anyhow::Result;

use super::{PREFIX, is_alive, run, wait_gone};

/// The namespaces; dropping it removes them.
#[derive(Debug)]
pub struct Network {
    process: u32,
    hosts: usize,
}

impl Network {
    /// Makes so many hosts.
    pub async fn new(hosts: usize) -> Result<Self> {
        let network = Self { process: std::process::id(), hosts };
        let bridge = network.bridge();
        let gateway = format!("{}/24", network.address(0));
        run("ip", &["link", "add", &bridge, "type", "bridge"]).await?;
        run("ip", &["address", "add", &gateway, "dev", &bridge]).await?;
        run("ip", &["link", "set", &bridge, "up"]).await?;
        for at in 0..hosts {
            network.plug(at, &bridge).await?;
        }
        Ok(network)
    }

    async fn plug(&self, at: usize, bridge: &str) -> Result<()> {
        let host = self.host(at);
        let cable = format!("{bridge}m{at}");
        let address = format!("{}/24", self.address(at + 1));
        run("ip", &["netns", "add", &host]).await?;
        let inside = ["peer", "name", "eth0", "netns", &host];
        let outside = ["link", "add", &cable, "type", "veth"];
        run("ip", &[&outside[..], &inside[..]].concat()).await?;
        run("ip", &["link", "set", &cable, "master", bridge, "up"]).await?;
        run("ip", &["-n", &host, "address", "add", &address, "dev", "eth0"]).await?;
        run("ip", &["-n", &host, "link", "set", "eth0", "up"]).await?;
        run("ip", &["-n", &host, "link", "set", "lo", "up"]).await?;
        self.heal(at).await
    }

    fn bridge(&self) -> String {
        format!("{}{}", short_prefix(), self.process)
    }

    fn host(&self, at: usize) -> String {
        format!("{PREFIX}{}-{at}", self.process)
    }

    /// In the range for benchmarks of networks, which nobody routes.
    fn address(&self, number: usize) -> String {
        format!("198.18.{}.{}", self.process % 256, number + 1)
    }

    /// A host's address.
    pub fn ip(&self, at: usize) -> String {
        self.address(at + 1)
    }

    /// What runs a program on a host.
    pub(crate) fn launcher(&self, at: usize) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.host(at))]
    }

    /// Drops what arrives at one host from another.
    pub async fn deafen(&self, at: usize, towards: usize) -> Result<()> {
        let rule = ["rule", "inet", "fault", "heard", "ip", "saddr", &self.ip(towards), "drop"];
        self.nft(at, &[&["add"], &rule[..]].concat()).await
    }

    /// Drops everything between two hosts.
    pub async fn cut(&self, one: usize, other: usize) -> Result<()> {
        self.deafen(one, other).await?;
        self.deafen(other, one).await
    }

    /// Lets everything through to a host again.
    pub async fn heal(&self, at: usize) -> Result<()> {
        self.nft(at, &["add", "table", "inet", "fault"]).await?;
        self.nft(at, &["delete", "table", "inet", "fault"]).await?;
        self.nft(at, &["add", "table", "inet", "fault"]).await?;
        let chain = "add chain inet fault heard { type filter hook input priority 0; }";
        self.nft(at, &[chain]).await
    }

    async fn nft(&self, at: usize, rest: &[&str]) -> Result<()> {
        let host = self.host(at);
        run("ip", &[&["netns", "exec", &host, "nft"], rest].concat()).await
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for at in 0..self.hosts {
            wait_gone("ip", &["netns", "delete", &self.host(at)]);
        }
        wait_gone("ip", &["link", "delete", &self.bridge()]);
    }
}

/// Interfaces have short names.
fn short_prefix() -> &'static str {
    "tf"
}

/// Removes the hosts of test processes that are no more.
pub(super) fn remove_leftovers() -> Result<()> {
    let Ok(hosts) = std::fs::read_dir("/run/netns") else { return Ok(()) };
    for host in hosts {
        let name = host?.file_name().to_string_lossy().into_owned();
        let Some((process, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
        else {
            continue;
        };
        if !is_alive(process) {
            wait_gone("ip", &["netns", "delete", &name]);
            wait_gone("ip", &["link", "delete", &format!("{}{process}", short_prefix())]);
        }
    }
    Ok(())
}
