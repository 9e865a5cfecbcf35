//! The scheduler's picture of the cluster: nodes with the sums over their Pods, including Pods whose binding is
//! still under way ("assumed").

use crate::{
    node_info::NodeInfo,
    pod_info::{Namespaces, PodInfo},
};
use k8s_openapi::api::core::v1::Node;
use std::{collections::HashMap, sync::Arc};

/// Where a Pod is counted.
struct Placed {
    node: String,
    info: Arc<PodInfo>,
    /// Our own decision, not yet seen in the API.
    assumed: bool,
}

/// Nodes, their Pods, and the room kept for nominated Pods.
#[derive(Default)]
pub struct Cache {
    /// All nodes, also those of which only Pods are known. Removal changes the order.
    nodes: Vec<NodeInfo>,
    /// Position in `nodes` by name.
    index: HashMap<String, usize>,
    /// Bound and assumed Pods by uid.
    placed: HashMap<String, Placed>,
    /// Pods for which preemption keeps room, by uid, with the node.
    nominated: HashMap<String, (String, Arc<PodInfo>)>,
    /// Labels of namespaces.
    pub namespaces: Namespaces,
}

impl Cache {
    /// The nodes whose object is known.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|node| node.node.is_some())
    }

    /// One node whose object is known.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.index.get(name).map(|at| &self.nodes[*at]).filter(|node| node.node.is_some())
    }

    /// The entry of a node, made when missing.
    fn entry(&mut self, name: &str) -> &mut NodeInfo {
        if !self.index.contains_key(name) {
            self.index.insert(name.to_owned(), self.nodes.len());
            self.nodes.push(NodeInfo::named(name));
        }
        &mut self.nodes[self.index[name]]
    }

    /// Takes a node's object in; returns the one before.
    pub fn set_node(&mut self, node: Arc<Node>) -> Option<Arc<Node>> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let entry = self.entry(&name);
        let before = entry.node.take();
        entry.set_node(node);
        before
    }

    /// Forgets a node's object; Pods that are still counted on it keep the entry.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.get(name).copied() else { return };
        self.nodes[at].node = None;
        self.drop_if_empty(at);
    }

    /// Drops an entry without object and Pods.
    fn drop_if_empty(&mut self, at: usize) {
        if self.nodes[at].node.is_some() || !self.nodes[at].pods.is_empty() {
            return;
        }
        let gone = self.nodes.swap_remove(at);
        self.index.remove(&gone.name);
        if let Some(moved) = self.nodes.get(at) {
            self.index.insert(moved.name.clone(), at);
        }
    }

    /// Counts a bound Pod; returns what was counted for it before.
    pub fn set_pod(&mut self, info: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        let node = info.node_name()?.to_owned();
        let before = self.take(&info.uid).filter(|placed| !placed.assumed);
        self.place(node, info, false);
        before.map(|placed| placed.info)
    }

    /// Counts a Pod on the node we have chosen, before the API knows.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: &str) {
        self.take(&info.uid);
        self.nominated.remove(&info.uid);
        self.place(node.to_owned(), info, true);
    }

    /// Takes a decision back, if it still is only ours.
    pub fn forget(&mut self, uid: &str) -> bool {
        let ours = self.placed.get(uid).is_some_and(|placed| placed.assumed);
        if ours {
            self.take(uid);
        }
        ours
    }

    /// Removes a Pod; returns what was counted.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.nominated.remove(uid);
        self.take(uid).map(|placed| placed.info)
    }

    /// Whether a Pod is counted on some node.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn place(&mut self, node: String, info: Arc<PodInfo>, assumed: bool) {
        self.nominated.remove(&info.uid);
        self.entry(&node).add_pod(info.clone());
        self.placed.insert(info.uid.clone(), Placed { node, info, assumed });
    }

    fn take(&mut self, uid: &str) -> Option<Placed> {
        let placed = self.placed.remove(uid)?;
        if let Some(at) = self.index.get(&placed.node).copied() {
            self.nodes[at].remove_pod(uid);
            self.drop_if_empty(at);
        }
        Some(placed)
    }

    /// Keeps room on a node for a Pod, or (without a node) no longer.
    pub fn nominate(&mut self, info: &Arc<PodInfo>, node: Option<&str>) {
        match node {
            Some(node) if !self.is_placed(&info.uid) => {
                self.nominated.insert(info.uid.clone(), (node.to_owned(), info.clone()));
            }
            _ => {
                self.nominated.remove(&info.uid);
            }
        }
    }

    /// The node on which room is kept for a Pod.
    pub fn nomination(&self, uid: &str) -> Option<&str> {
        self.nominated.get(uid).map(|(node, _)| node.as_str())
    }

    /// The Pods for which room is kept, by node.
    pub fn nominations(&self) -> Nominations {
        let mut by_node: HashMap<String, Vec<Arc<PodInfo>>> = HashMap::new();
        for (node, info) in self.nominated.values() {
            by_node.entry(node.clone()).or_default().push(info.clone());
        }
        Nominations { by_node }
    }
}

/// The Pods for which room is kept, by node.
#[derive(Default)]
pub struct Nominations {
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
}

impl Nominations {
    /// The Pods on a node that go before `pod`.
    pub fn before(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        let all = self.by_node.get(node).into_iter().flatten();
        all.filter(|one| one.uid != pod.uid && one.priority >= pod.priority).cloned().collect()
    }

    /// The Pods on a node that `pod` goes before.
    pub fn after(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        let all = self.by_node.get(node).into_iter().flatten();
        all.filter(|one| one.uid != pod.uid && one.priority < pod.priority).cloned().collect()
    }
}
