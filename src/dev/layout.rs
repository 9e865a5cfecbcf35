//! Where a dev cluster keeps what: the directory, its note of what it is, and the hosts with their addresses.
//!
//! ```text
//! DIR/cluster.json     what this cluster is made of; written once, so that a second start finds the same
//!    /state.json       which processes run now
//!    /lock             held by the run that is in charge
//!    /control.sock     takes orders (`trireme host`)
//!    /kubeconfig       user admin
//!    /pki/             the authorities
//!    /master-1/        data and certificates of a host
//!    /logs/master-1.log
//! ```

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// What `cluster.json` says it is.
const KIND: &str = "trireme-dev-cluster";
/// Version of the directory's layout. A newer one is refused.
const FORMAT: u32 = 1;
/// Name of the note.
const NOTE: &str = "cluster.json";

/// Ports of a master in a namespace of its own.
pub(crate) const API_PORT: u16 = 6443;
/// Where etcd clients connect.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// Where members connect.
pub(crate) const PEER_PORT: u16 = 2380;
/// Where the API server reaches a node's agent.
pub(crate) const AGENT_PORT: u16 = 10250;

/// What a cluster is made of.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Always [`KIND`].
    pub kind: String,
    /// Version of the layout.
    pub format: u32,
    /// Hosts in namespaces of their own, or all on loopback.
    pub namespaces: bool,
    /// Runtime of the nodes.
    pub runtime: String,
    /// Third byte of the hosts' network, 10.199.N.0/24; unused on loopback.
    pub subnet: u8,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Port of the address that leads to any master.
    pub front: u16,
}

/// What a host is for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// A control-plane replica.
    Master,
    /// Runs Pods.
    Node,
}

/// One host.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its address.
    pub ip: Ipv4Addr,
    /// API server of a master; agent of a node.
    pub port: u16,
    /// Where etcd clients connect; masters only.
    pub client_port: u16,
    /// Where members connect; masters only.
    pub peer_port: u16,
}

impl Host {
    /// Its HTTPS address.
    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", self.ip, self.port)
    }

    /// Its etcd client address.
    pub(crate) fn client_url(&self) -> String {
        format!("https://{}:{}", self.ip, self.client_port)
    }

    /// Its address for members.
    pub(crate) fn peer_url(&self) -> String {
        format!("https://{}:{}", self.ip, self.peer_port)
    }

    /// Its address as an [`IpAddr`].
    pub(crate) fn addr(&self) -> IpAddr {
        self.ip.into()
    }
}

/// A cluster's directory.
#[derive(Debug, Clone)]
pub(crate) struct Dir {
    path: PathBuf,
}

impl Dir {
    /// The directory at a path, made absolute. It need not be there.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).context("the data directory's path")?;
        Ok(Self { path })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A host's own directory.
    pub(crate) fn host(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A host's log.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// A short name that no other directory has: for interfaces, namespaces, cgroups.
    pub(crate) fn id(&self) -> String {
        use std::os::unix::ffi::OsStrExt;
        let digest = Sha256::digest(self.path.as_os_str().as_bytes());
        digest[..3].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Small state of this boot.
    pub(crate) fn run_dir(&self) -> PathBuf {
        Path::new("/run/trireme").join(self.id())
    }

    /// A host's network namespace.
    pub(crate) fn netns(&self, host: &str) -> PathBuf {
        self.run_dir().join("hosts").join(host)
    }

    /// Parent of all cgroups of this cluster.
    pub(crate) fn cgroup(&self) -> String {
        format!("/trireme/{}", self.id())
    }

    /// What the cluster here is made of; `None` for a directory that is empty or not there.
    pub(crate) fn read(&self) -> Result<Option<Cluster>> {
        let note = self.file(NOTE);
        let text = match std::fs::read_to_string(&note) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.check_empty()?;
                return Ok(None);
            }
            Err(error) => return Err(error).context(format!("reading {}", note.display())),
        };
        let value: serde_json::Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; use another --data-dir", note.display()))?;
        if value["kind"] != KIND {
            bail!("{} is not of a trireme dev cluster; use another --data-dir", note.display());
        }
        let format = value["format"].as_u64().unwrap_or(0);
        if format > u64::from(FORMAT) {
            bail!(
                "{} was made by a newer trireme (format {format}, this one knows {FORMAT}); \
                 use that version or another --data-dir",
                self.path.display()
            );
        }
        let cluster = serde_json::from_value(value)
            .with_context(|| format!("{} is damaged; use another --data-dir", note.display()))?;
        Ok(Some(cluster))
    }

    /// Refuses a directory with other people's files.
    fn check_empty(&self) -> Result<()> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).context(format!("reading {}", self.path.display()));
            }
        };
        let strange = entries.flatten().find(|entry| entry.file_name() != "lock");
        match strange {
            None => Ok(()),
            Some(entry) => bail!(
                "{} holds files that are not ours (such as {}); use an empty or new --data-dir",
                self.path.display(),
                entry.file_name().to_string_lossy()
            ),
        }
    }

    /// Writes down what the cluster is made of.
    pub(crate) fn write(&self, cluster: &Cluster) -> Result<()> {
        let text = serde_json::to_vec_pretty(cluster)?;
        stdx::pki::write_public(&self.file(NOTE), &text)
            .with_context(|| format!("writing to {}", self.path.display()))
    }

    /// The cluster that must be here.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        let path = self.path.display();
        match self.read()? {
            Some(cluster) => Ok(cluster),
            None => bail!("no cluster in {path}: start one with `trireme dev --data-dir {path}`"),
        }
    }
}

impl Cluster {
    /// A new cluster's plan. `port` gives free ports on loopback.
    pub(crate) fn plan(
        masters: usize,
        nodes: usize,
        runtime: &str,
        namespaces: bool,
        subnet: u8,
        front: u16,
        mut port: impl FnMut() -> Result<u16>,
    ) -> Result<Self> {
        let mut hosts = Vec::with_capacity(masters + nodes);
        let network = |last: usize| -> Result<Ipv4Addr> {
            Ok(Ipv4Addr::new(10, 199, subnet, u8::try_from(last)?))
        };
        for at in 1..=masters {
            let name = format!("master-{at}");
            hosts.push(if namespaces {
                Host {
                    name,
                    role: Role::Master,
                    ip: network(10 + at)?,
                    port: API_PORT,
                    client_port: CLIENT_PORT,
                    peer_port: PEER_PORT,
                }
            } else {
                let ip = Ipv4Addr::LOCALHOST;
                let (port, client_port, peer_port) = (port()?, port()?, port()?);
                Host { name, role: Role::Master, ip, port, client_port, peer_port }
            });
        }
        let own = namespaces && runtime != "simulated";
        for at in 1..=nodes {
            let (ip, port) = match (own, namespaces) {
                (true, _) => (network(100 + at)?, AGENT_PORT),
                // Simulated nodes share one process beside the bridge.
                (false, true) => (network(1)?, port()?),
                (false, false) => (Ipv4Addr::LOCALHOST, port()?),
            };
            let name = format!("node-{at}");
            hosts.push(Host { name, role: Role::Node, ip, port, client_port: 0, peer_port: 0 });
        }
        let (kind, runtime) = (KIND.to_owned(), runtime.to_owned());
        Ok(Self { kind, format: FORMAT, namespaces, runtime, subnet, hosts, front })
    }

    /// The masters.
    pub(crate) fn masters(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.role == Role::Master)
    }

    /// The nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.role == Role::Node)
    }

    /// Whether all nodes live in one process.
    pub(crate) fn simulated(&self) -> bool {
        self.runtime == "simulated"
    }

    /// The address of the bridge between hosts.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 199, self.subnet, 1)
    }

    /// Members as `--initial-cluster` names them.
    pub(crate) fn initial_cluster(&self) -> String {
        let all = self.masters().map(|host| format!("{}={}", host.name, host.peer_url()));
        all.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(runtime: &str, namespaces: bool) -> Cluster {
        let mut next = 9000;
        let port = || {
            next += 1;
            Ok(next)
        };
        Cluster::plan(3, 2, runtime, namespaces, 7, 6443, port).expect("a plan")
    }

    #[test]
    fn hosts_have_addresses_of_their_own_or_ports_of_their_own() {
        let cluster = plan("oci", true);
        let urls: Vec<String> = cluster.hosts.iter().map(Host::url).collect();
        assert_eq!(urls[0], "https://10.199.7.11:6443");
        assert_eq!(urls[4], "https://10.199.7.102:10250");
        let mut ports: Vec<u16> = plan("simulated", false).hosts.iter().map(|h| h.port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 5);
    }

    #[test]
    fn a_directory_is_taken_only_if_it_is_ours() {
        let path = std::env::temp_dir().join(format!("trireme-layout-{}", std::process::id()));
        let dir = Dir::new(&path).expect("a path");
        assert!(dir.read().expect("nothing there").is_none());
        std::fs::create_dir_all(&path).expect("made");
        let cluster = plan("oci", true);
        dir.write(&cluster).expect("written");
        assert_eq!(dir.read().expect("read"), Some(cluster.clone()));
        let newer = Cluster { format: FORMAT + 1, ..cluster.clone() };
        dir.write(&newer).expect("written");
        assert!(dir.read().expect_err("newer").to_string().contains("newer trireme"));
        std::fs::write(dir.file(NOTE), "{}").expect("written");
        assert!(dir.read().expect_err("strange").to_string().contains("not of a trireme"));
        std::fs::remove_file(dir.file(NOTE)).expect("removed");
        std::fs::write(dir.file("letter.txt"), "dear").expect("written");
        assert!(dir.read().expect_err("not ours").to_string().contains("not ours"));
        std::fs::remove_dir_all(path).expect("removed");
    }
}
