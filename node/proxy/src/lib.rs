//! Services on one node: connections to a Service's address go to one of its endpoints, by rules in
//! the kernel.
//!
//! [`run`] follows Services and EndpointSlices and keeps one nf_tables table of its own equal to
//! what they want. The table outlives the process: a restarted agent replaces it whole, in one
//! transaction, and no connection notices. What a table looks like is told in `layout`, what a
//! Service wants in `plan`.
//!
//! All functions act on the network namespace of the calling thread. Only IPv4 is proxied.

mod error;
mod host_port;
mod layout;
mod nft;
mod plan;
mod stale;
mod state;
mod sync;
mod table;

pub use error::Error;
pub use host_port::{HostPort, HostPorts};
pub use sync::run;

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Name of the table unless several nodes share a network namespace.
pub const TABLE: &str = "trireme-proxy";

/// What the proxy of one node needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object: tells which endpoints are here.
    pub node_name: String,
    /// The node's own address.
    pub node_ip: Ipv4Addr,
    /// The whole cluster's pod range: who comes from elsewhere, or goes elsewhere, gets this node's
    /// address.
    pub cluster_cidr: Ipv4Net,
    /// The range of Services' addresses: packets to those that no Service has are dropped.
    pub service_cidr: Option<Ipv4Net>,
    /// Name of the table in the kernel.
    pub table: String,
    /// The bit of a packet's mark that says that its source is to be replaced.
    pub masquerade_mark: u32,
}

impl Config {
    /// The usual settings.
    pub fn new(node_name: &str, node_ip: Ipv4Addr, cluster_cidr: Ipv4Net) -> Self {
        Self {
            node_name: node_name.to_owned(),
            node_ip,
            cluster_cidr,
            service_cidr: None,
            table: TABLE.to_owned(),
            masquerade_mark: 1 << 14,
        }
    }
}

/// Whether Services can be proxied here: the error says what is missing. Nothing is changed.
///
/// Everything that is ever used is made and deleted again in one transaction, which no packet sees.
pub fn probe() -> Result<(), Error> {
    let name = format!("trireme-probe-{}", std::process::id());
    let config = Config {
        table: name,
        ..Config::new("probe", Ipv4Addr::LOCALHOST, Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 32))
    };
    let mut batch = nft::Batch::new(&config.table);
    layout::base(&mut batch, &config);
    let picker = layout::Picker {
        node_port: false,
        space: plan::Space::Everyone,
        masquerade: plan::Masquerade::Outside,
        affinity: Some(1),
        count: 2,
    };
    picker.make(&mut batch, &config);
    batch.delete_table();
    nft::Kernel::open()?.commit(batch)
}

/// Removes a proxy's table. None there is fine. Connections that are open stay as they are.
pub fn cleanup(table: &str) -> Result<(), Error> {
    let mut batch = nft::Batch::new(table);
    batch.new_table();
    batch.delete_table();
    nft::Kernel::open()?.commit(batch)
}

#[cfg(test)]
mod tests;
