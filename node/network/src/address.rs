//! What goes into the pod network and what comes out: the plain data of this crate's interface.

use crate::Error;
use ipnet::Ipv4Net;
use std::{net::Ipv4Addr, path::PathBuf};

/// What the pod network of one node needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object.
    pub node_name: String,
    /// The node's own address: source of traffic from the node to its Pods.
    pub node_ip: Ipv4Addr,
    /// The node's share of the cluster's pod range: `spec.podCIDR` of its Node object.
    pub pod_cidr: Ipv4Net,
    /// The whole cluster's pod range.
    pub cluster_cidr: Ipv4Net,
    /// The range of Services' addresses: gets a route, so that connections to Services leave this
    /// host's processes even where no default route exists (the service proxy then redirects them).
    pub service_cidr: Option<Ipv4Net>,
    /// Directory for the address file; made when missing.
    pub state_dir: PathBuf,
    /// MTU of Pod interfaces; `None` takes that of the interface which carries `node_ip`.
    pub mtu: Option<u32>,
}

impl Config {
    /// Refuses ranges that cannot work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.pod_cidr.prefix_len() > 30 {
            return Err(Error::Config(format!(
                "pod range {} has no room for pods: use /30 or larger",
                self.pod_cidr
            )));
        }
        if self.pod_cidr.contains(&self.node_ip) {
            return Err(Error::Config(format!(
                "pod range {} contains the node's own address {}",
                self.pod_cidr, self.node_ip
            )));
        }
        Ok(())
    }
}

/// A Pod to be wired.
#[derive(Clone, Debug)]
pub struct PodRequest {
    /// `metadata.uid`.
    pub uid: String,
    /// `namespace/name`, for logs and the address file.
    pub name: String,
    /// Path of the Pod's network namespace (a bind mount, or `/proc/<pid>/ns/net`).
    pub netns: PathBuf,
}

/// How a Pod is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// The Pod's address: `status.podIP`.
    pub ip: Ipv4Addr,
    /// The Pod's interface on the host.
    pub host_interface: String,
    /// The MTU of the Pod's interface, when it was set.
    pub mtu: Option<u32>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name of the Node object.
    pub node_name: String,
    /// Its address; must be on a segment this node is on.
    pub node_ip: Ipv4Addr,
    /// Its pod ranges.
    pub pod_cidrs: Vec<Ipv4Net>,
}
