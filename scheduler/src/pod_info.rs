//! A Pod with everything precomputed that plugins ask about it again and again.

use crate::{
    resources::{self, Resources},
    selector::{Labels, NodeTerm, Selector},
};
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec, Toleration};
use std::{collections::HashMap, sync::Arc};

/// Labels of all namespaces.
pub type Namespaces = HashMap<String, Labels>;

/// A host port that a Pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Address on the host; empty means all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both can't be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let all = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (all(&self.ip) || all(&other.ip) || self.ip == other.ip)
    }
}

/// A compiled Pod (anti-)affinity term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinityTerm {
    /// Which Pods.
    pub selector: Selector,
    /// In which namespaces, by name.
    pub namespaces: Vec<String>,
    /// And by label.
    pub namespace_selector: Option<Selector>,
    /// The node label whose value makes the domain.
    pub topology_key: String,
    /// Weight of a preference; 0 for a requirement.
    pub weight: i64,
}

impl AffinityTerm {
    fn compile(term: &PodAffinityTerm, namespace: &str, weight: i32) -> Self {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        Self {
            selector: Selector::compile(term.label_selector.as_ref()),
            namespaces,
            namespace_selector: term
                .namespace_selector
                .as_ref()
                .map(|selector| Selector::compile(Some(selector))),
            topology_key: term.topology_key.clone(),
            weight: i64::from(weight),
        }
    }

    /// Whether the term speaks of a Pod, as far as can be told without the namespaces' labels.
    pub fn may_match(&self, pod: &PodInfo) -> bool {
        let named = self.namespaces.contains(&pod.namespace);
        (named || self.namespace_selector.is_some())
            && self.selector.matches(pod.pod.metadata.labels.as_ref())
    }

    /// Whether the term speaks of a Pod.
    pub fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        let listed = self.namespaces.contains(&pod.namespace);
        let selected = || {
            self.namespace_selector.as_ref().is_some_and(|selector| {
                selector.is_empty() || selector.matches(namespaces.get(&pod.namespace))
            })
        };
        (listed || selected()) && self.selector.matches(pod.pod.metadata.labels.as_ref())
    }
}

/// All (anti-)affinity terms of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Must be near.
    pub required: Vec<AffinityTerm>,
    /// Must not be near.
    pub required_anti: Vec<AffinityTerm>,
    /// Better near; weights are positive.
    pub preferred: Vec<AffinityTerm>,
    /// Better far; weights are negative.
    pub preferred_anti: Vec<AffinityTerm>,
}

impl Affinity {
    fn compile(spec: &PodSpec, namespace: &str) -> Self {
        let Some(affinity) = &spec.affinity else { return Self::default() };
        let mut all = Self::default();
        if let Some(near) = &affinity.pod_affinity {
            for term in near.required_during_scheduling_ignored_during_execution.iter().flatten() {
                all.required.push(AffinityTerm::compile(term, namespace, 0));
            }
            for one in near.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
                let term = AffinityTerm::compile(&one.pod_affinity_term, namespace, one.weight);
                all.preferred.push(term);
            }
        }
        if let Some(far) = &affinity.pod_anti_affinity {
            for term in far.required_during_scheduling_ignored_during_execution.iter().flatten() {
                all.required_anti.push(AffinityTerm::compile(term, namespace, 0));
            }
            for one in far.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
                let term = AffinityTerm::compile(&one.pod_affinity_term, namespace, -one.weight);
                all.preferred_anti.push(term);
            }
        }
        all
    }

    /// Whether there is no term at all.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty()
            && self.required_anti.is_empty()
            && self.preferred.is_empty()
            && self.preferred_anti.is_empty()
    }
}

/// A claim that a Pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// It is made for the Pod alone.
    pub ephemeral: bool,
}

/// A Pod as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The object.
    pub pod: Arc<Pod>,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.priority`, 0 when unset.
    pub priority: i32,
    /// What it asks for.
    pub requests: Resources,
    /// Cpu (milli) and memory as scoring counts them.
    pub scoring: (i64, i64),
    /// Its host ports.
    pub ports: Vec<HostPort>,
    /// Its Pod (anti-)affinity.
    pub affinity: Affinity,
    /// `spec.nodeSelector`.
    pub node_selector: Selector,
    /// Required node affinity: alternatives; `None` when there is none.
    pub node_terms: Option<Vec<NodeTerm>>,
    /// The claims that it uses.
    pub claims: Vec<Claim>,
    /// Its tolerations.
    pub tolerations: Vec<Toleration>,
    /// It is being deleted.
    pub terminating: bool,
}

impl PodInfo {
    /// Computes everything once.
    pub fn new(pod: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let required = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref())
            .and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            requests: resources::requests(&pod),
            scoring: resources::scoring_requests(&pod),
            ports: host_ports(spec),
            affinity: Affinity::compile(spec, &namespace),
            node_selector: Selector::equal(spec.node_selector.iter().flatten()),
            node_terms: required.map(|selector| {
                selector.node_selector_terms.iter().map(NodeTerm::compile).collect()
            }),
            claims: claims(spec, meta.name.as_deref().unwrap_or_default()),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
            namespace,
            pod,
        }
    }

    /// Whether another version of this Pod counts the same on its node.
    pub fn counts_like(&self, other: &Self) -> bool {
        self.terminating == other.terminating
            && self.priority == other.priority
            && self.requests == other.requests
            && self.scoring == other.scoring
            && self.pod.metadata.labels == other.pod.metadata.labels
            && self.affinity == other.affinity
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The node it is bound to.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.pod.spec.as_ref()?.node_name.as_deref()?;
        (!name.is_empty()).then_some(name)
    }

    /// The node that preemption keeps room on for it.
    pub fn nominated_node(&self) -> Option<&str> {
        let name = self.pod.status.as_ref()?.nominated_node_name.as_deref()?;
        (!name.is_empty()).then_some(name)
    }

    /// Whether it has ended and holds nothing any more.
    pub fn is_finished(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// The claims of a Pod.
fn claims(spec: &PodSpec, pod: &str) -> Vec<Claim> {
    let volumes = spec.volumes.iter().flatten();
    volumes
        .filter_map(|volume| {
            if let Some(source) = &volume.persistent_volume_claim {
                return Some(Claim { name: source.claim_name.clone(), ephemeral: false });
            }
            volume.ephemeral.as_ref()?;
            Some(Claim { name: format!("{pod}-{}", volume.name), ephemeral: true })
        })
        .collect()
}

/// The host ports of containers and of sidecars.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            Some(HostPort {
                ip: port.host_ip.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        })
        .collect()
}
