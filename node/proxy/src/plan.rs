//! What one Service wants of this node: its fronts, what happens to connections to each, and its
//! endpoints. Pure.
//!
//! A *front* is an address and port that clients connect to: a cluster IP, an external IP, a load
//! balancer's IP, or a node port (whose address is whatever the node has, written 0.0.0.0 here). A
//! *group* is a list of endpoints that fronts choose from: those of one port, all of them or only
//! this node's.
//!
//! With `externalTrafficPolicy: Local` a front behaves differently for clients inside the cluster,
//! who may be sent anywhere; such a front has a second entry in the *space* of inside clients.

use k8s_openapi::api::{
    core::v1::{Service, ServicePort, ServiceSpec},
    discovery::v1::{Endpoint, EndpointSlice},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

/// Services with this label are somebody else's.
const FOREIGN_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// Services with this label have no cluster IP to proxy.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// How long a client sticks to its endpoint unless the Service says otherwise.
const AFFINITY_SECONDS: i32 = 10_800;

/// The protocol of a port, as IP numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// SCTP.
    Sctp = 132,
}

impl Protocol {
    /// As the API writes it; none means TCP.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP" | "") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

/// Where clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Front {
    /// The address; unspecified for a node port.
    pub(crate) address: Ipv4Addr,
    /// The protocol.
    pub(crate) protocol: Protocol,
    /// The port.
    pub(crate) port: u16,
}

/// Whose connections an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Space {
    /// Everybody's, unless an entry for inside clients comes first.
    Everyone,
    /// Those of Pods and of this node itself.
    Inside,
}

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Target {
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Its port.
    pub(crate) port: u16,
}

/// Whether a connection gets this node's address as its source, so that its answers come back this
/// way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Masquerade {
    /// Never: the client's address is to be seen.
    Never,
    /// When the client is no Pod.
    Outside,
    /// Always.
    Always,
}

/// A list of endpoints: of one port, and of this node only or of all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// Name of the Service's port.
    pub(crate) port: String,
    /// Protocol of the Service's port.
    pub(crate) protocol: Protocol,
    /// Whether it holds this node's endpoints only.
    pub(crate) local: bool,
}

/// What happens to connections to a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    /// They go to an endpoint of a group.
    Pick(Group, Masquerade),
    /// They are refused: there is no endpoint.
    Reject,
    /// They vanish: there are endpoints, but none that this node may use.
    Drop,
}

/// What one Service wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What happens at which front.
    pub(crate) fronts: BTreeMap<(Space, Front), Handling>,
    /// The endpoints of the groups that the fronts use.
    pub(crate) groups: BTreeMap<Group, BTreeSet<Target>>,
    /// Seconds for which a client sticks to its endpoint.
    pub(crate) affinity: Option<u32>,
    /// Its endpoints on this node: they may connect to themselves.
    pub(crate) here: BTreeSet<Ipv4Addr>,
    /// Its cluster IPs, whose other ports are refused.
    pub(crate) cluster_ips: BTreeSet<Ipv4Addr>,
}

/// What a Service with these slices wants of the node of that name.
pub(crate) fn wanted(service: &Service, slices: &[Arc<EndpointSlice>], node: &str) -> Wanted {
    let mut wanted = Wanted::default();
    let Some(spec) = service.spec.as_ref().filter(|spec| is_ours(service, spec)) else {
        return wanted;
    };
    wanted.affinity = affinity(spec);
    wanted.cluster_ips = cluster_ips(spec);
    let external = external_addresses(service, spec);
    let local_only = |policy: &Option<String>| policy.as_deref() == Some("Local");
    for port in spec.ports.iter().flatten() {
        let (Some(protocol), Some(number)) =
            (Protocol::parse(port.protocol.as_deref()), port_number(port.port))
        else {
            continue;
        };
        let front = |address: &Ipv4Addr| Front { address: *address, protocol, port: number };
        let mut ends = Ends::find(port, protocol, slices, node);
        for address in &wanted.cluster_ips {
            let local = local_only(&spec.internal_traffic_policy);
            let handling = ends.handling(local, Masquerade::Outside);
            wanted.fronts.insert((Space::Everyone, front(address)), handling);
        }
        let node_port = port.node_port.and_then(port_number).map(|port| Front {
            address: Ipv4Addr::UNSPECIFIED,
            protocol,
            port,
        });
        for front in external.iter().map(front).chain(node_port) {
            if local_only(&spec.external_traffic_policy) {
                let handling = ends.handling(true, Masquerade::Never);
                wanted.fronts.insert((Space::Everyone, front), handling);
                if let inside @ Handling::Pick(..) = ends.handling(false, Masquerade::Outside) {
                    wanted.fronts.insert((Space::Inside, front), inside);
                }
            } else {
                let handling = ends.handling(false, Masquerade::Always);
                wanted.fronts.insert((Space::Everyone, front), handling);
            }
        }
        wanted.here.extend(ends.local.iter().map(|target| target.address));
        wanted.groups.append(&mut ends.used);
    }
    wanted
}

/// Whether this proxy is responsible for a Service.
fn is_ours(service: &Service, spec: &ServiceSpec) -> bool {
    let labels = service.metadata.labels.as_ref();
    let labelled = |name: &str| labels.is_some_and(|labels| labels.contains_key(name));
    !labelled(FOREIGN_PROXY) && !labelled(HEADLESS) && spec.type_.as_deref() != Some("ExternalName")
}

/// Seconds of a Service's session affinity.
fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
    u32::try_from(seconds).ok()
}

/// A port that may be one.
fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

/// The cluster IPs of our family.
fn cluster_ips(spec: &ServiceSpec) -> BTreeSet<Ipv4Addr> {
    let several = spec.cluster_ips.iter().flatten();
    several.chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok()).collect()
}

/// External addresses: given by the user, or by a load balancer that does not proxy itself.
fn external_addresses(service: &Service, spec: &ServiceSpec) -> BTreeSet<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let balanced = status.iter().flat_map(|status| status.ingress.iter().flatten());
    let balanced = balanced
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref());
    let is_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    let balanced = balanced.filter(|_| is_balancer);
    let given = spec.external_ips.iter().flatten();
    given.chain(balanced).filter_map(|ip| ip.parse().ok()).collect()
}

/// The endpoints of one port of a Service.
struct Ends {
    /// Its name and protocol.
    port: (String, Protocol),
    /// All that take connections.
    all: BTreeSet<Target>,
    /// Those of this node.
    local: BTreeSet<Target>,
    /// Groups that some front uses.
    used: BTreeMap<Group, BTreeSet<Target>>,
}

impl Ends {
    /// Collects the endpoints out of the slices.
    fn find(
        port: &ServicePort,
        protocol: Protocol,
        slices: &[Arc<EndpointSlice>],
        node: &str,
    ) -> Self {
        let name = port.name.clone().unwrap_or_default();
        let mut found = Vec::new();
        for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
            let numbers = slice.ports.iter().flatten().filter_map(|one| {
                let same = one.name.as_deref().unwrap_or_default() == name
                    && Protocol::parse(one.protocol.as_deref()) == Some(protocol);
                one.port.filter(|_| same).and_then(port_number)
            });
            for number in numbers {
                let ends = slice.endpoints.iter().flatten();
                found.extend(ends.filter_map(|end| Some((end, target(end, number)?))));
            }
        }
        let here = |end: &Endpoint| end.node_name.as_deref() == Some(node);
        let local: Vec<_> = found.iter().copied().filter(|(end, _)| here(end)).collect();
        Self {
            port: (name, protocol),
            all: usable(&found),
            local: usable(&local),
            used: BTreeMap::new(),
        }
    }

    /// What happens at a front that uses all endpoints or only the local ones.
    fn handling(&mut self, local: bool, masquerade: Masquerade) -> Handling {
        let targets = if local { &self.local } else { &self.all };
        if targets.is_empty() {
            return if self.all.is_empty() { Handling::Reject } else { Handling::Drop };
        }
        let (port, protocol) = self.port.clone();
        let group = Group { port, protocol, local };
        self.used.entry(group.clone()).or_insert_with(|| targets.clone());
        Handling::Pick(group, masquerade)
    }
}

/// An endpoint's address: the first one, all others are the same to clients.
fn target(end: &Endpoint, port: u16) -> Option<Target> {
    let address = end.addresses.first()?.parse().ok()?;
    Some(Target { address, port })
}

/// Endpoints that take connections: the ready ones, or, when there are none, those that end but
/// still serve.
fn usable(ends: &[(&Endpoint, Target)]) -> BTreeSet<Target> {
    let chosen = |wish: fn(&Endpoint) -> bool| -> BTreeSet<Target> {
        ends.iter().filter(|(end, _)| wish(end)).map(|(_, target)| *target).collect()
    };
    let ready = chosen(|end| {
        end.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    if !ready.is_empty() {
        return ready;
    }
    chosen(|end| {
        end.conditions.as_ref().is_some_and(|conditions| {
            conditions.serving.unwrap_or(true) && conditions.terminating == Some(true)
        })
    })
}

#[cfg(test)]
mod tests;
