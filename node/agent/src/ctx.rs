//! What all parts of one agent share. Nothing is global: many agents live in one process.

use crate::addresses::Addresses;
use crate::config::Config;
use crate::pod::amount;
use crate::pod::fields::Place;
use crate::pod::host_port::HostPorts;
use crate::pod::spec::Kind;
use crate::pod::status::Facts;
use crate::volume::objects::Objects;
use client::events::{Recorder, Type};
use client::{Client, Informer};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use network::Network;
use runtime::Runtime;
use std::net::IpAddr;
use std::sync::Arc;
use stdx::Shutdown;

/// The parts of an agent.
pub(crate) struct Ctx {
    /// Settings.
    pub(crate) config: Config,
    /// The API server.
    pub(crate) client: Client,
    /// What runs containers.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Its name, the scheme of container ids.
    pub(crate) runtime_name: String,
    /// The pod network; without one Pods get addresses that lead nowhere.
    pub(crate) network: Option<Network>,
    /// Opens ports of the node for its Pods.
    pub(crate) ports: Option<Arc<dyn HostPorts>>,
    /// Addresses for Pods when there is no network.
    pub(crate) addresses: Addresses,
    /// Events.
    pub(crate) recorder: Recorder,
    /// Services, for Pods' environments.
    pub(crate) services: Informer<Service>,
    /// ConfigMaps and Secrets.
    pub(crate) objects: Objects,
    /// What the node can give.
    pub(crate) allocatable: amount::List,
    /// The lowest out-of-memory score that this process may give to others.
    pub(crate) least_score: i32,
    /// Ends everything.
    pub(crate) shutdown: Shutdown,
}

impl Ctx {
    /// Bytes of memory that the node can give.
    pub(crate) fn memory(&self) -> i64 {
        amount::whole_of(Some(&self.allocatable), "memory").unwrap_or(0)
    }

    /// Facts for statuses.
    pub(crate) fn facts(&self) -> Facts {
        let host_ips = vec![self.config.node_ip.to_string()];
        Facts { host_ips, runtime: self.runtime_name.clone() }
    }

    /// What a Pod may know about its place.
    pub(crate) fn place(&self, ips: &[IpAddr]) -> Place {
        Place {
            pod_ips: ips.iter().map(ToString::to_string).collect(),
            host_ips: vec![self.config.node_ip.to_string()],
            node: self.config.name.clone(),
            allocatable: self.allocatable.clone(),
        }
    }

    /// Records an event about a Pod, or about one of its containers.
    pub(crate) fn tell(
        &self,
        pod: &Pod,
        container: Option<(Kind, &str)>,
        kind: Type,
        reason: &str,
        note: &str,
    ) {
        let mut regarding: ObjectReference = client::events::reference(pod);
        regarding.field_path =
            container.map(|(kind, name)| format!("spec.{}{{{name}}}", kind.field()));
        self.recorder.event(regarding, kind, reason, note, "");
    }
}
