//! Ports of this node that lead to its own Pods (`hostPort`): told by the agent, as only it knows
//! the Pods, and kept in the same maps as node ports.

use crate::plan::{Front, Group, Handling, Masquerade, Protocol, Space, Target, Wanted};
use crate::sync::Dirty;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What names of Pods begin with, so that no Service has one.
const OWNER: &str = "pod:";

/// A port of the node that leads to a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The node's address it is open at; unspecified for all of them.
    pub host_ip: Ipv4Addr,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number.
    pub host_port: u16,
    /// The Pod's address.
    pub pod_ip: Ipv4Addr,
    /// The port in the Pod.
    pub container_port: u16,
}

/// All host ports of a node, and who is told when they change.
#[derive(Clone, Default)]
pub struct HostPorts {
    ports: Arc<Mutex<BTreeMap<String, Vec<HostPort>>>>,
    pub(crate) dirty: Arc<Dirty>,
}

impl HostPorts {
    /// Sets the ports of a Pod; none takes them away.
    pub fn set(&self, uid: &str, ports: Vec<HostPort>) {
        let name = format!("{OWNER}{uid}");
        let changed = {
            let mut all = self.ports.lock();
            let before = match ports.is_empty() {
                true => all.remove(&name),
                false => all.insert(name.clone(), ports.clone()),
            };
            before.unwrap_or_default() != ports
        };
        if changed {
            self.dirty.add(name);
        }
    }

    /// What a Pod wants of the table; `None` when the name is no Pod's.
    pub(crate) fn wanted(&self, name: &str) -> Option<Wanted> {
        name.strip_prefix(OWNER)?;
        let all = self.ports.lock();
        Some(wanted(all.get(name).map(Vec::as_slice).unwrap_or_default()))
    }

    /// Names of all Pods that have some.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.ports.lock().keys().map(|name| name.as_str().into()).collect()
    }
}

/// What these ports want of the table. The client's address is kept: answers pass here anyway.
fn wanted(ports: &[HostPort]) -> Wanted {
    let mut wanted = Wanted::default();
    for port in ports {
        let Some(protocol) = Protocol::parse(Some(&port.protocol)) else { continue };
        let front = Front { address: port.host_ip, protocol, port: port.host_port };
        let name = format!("{}:{}", port.host_ip, port.host_port);
        let group = Group { port: name, protocol, local: true };
        let target = Target { address: port.pod_ip, port: port.container_port };
        let handling = Handling::Pick(group.clone(), Masquerade::Never);
        wanted.fronts.insert((Space::Everyone, front), handling);
        wanted.groups.insert(group, BTreeSet::from([target]));
        wanted.here.insert(port.pod_ip);
    }
    wanted
}
