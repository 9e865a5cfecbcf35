//! The scheduler's picture of the cluster: nodes with the sums over their Pods, including Pods
//! whose binding is still under way ("assumed").

use crate::{
    node_info::NodeInfo,
    pod_info::{Namespaces, PodInfo},
    selector::Labels,
    tally::Tallies,
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
    /// Pods for which preemption keeps room.
    nominations: Nominations,
    /// Labels of namespaces.
    namespaces: Namespaces,
    /// Counts over all of it.
    tallies: Tallies,
}

impl Cache {
    /// The nodes whose object is known.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.iter().filter(|node| node.node.is_some())
    }

    /// Labels of namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Counts over all nodes whose object is known.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// The Pods for which room is kept.
    pub fn nominations(&self) -> &Nominations {
        &self.nominations
    }

    /// A namespace's labels, or that it is gone; tells whether that changes anything.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) -> bool {
        let before = match labels.clone() {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
        let changed = before != labels;
        if changed {
            self.tallies.forget();
        }
        changed
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
        let images = entry.images.clone();
        entry.set_node(node);
        let labels = |node: &Arc<Node>| node.metadata.labels.clone();
        let moved = before.as_ref().map(labels) != entry.node.as_ref().map(labels);
        let now = entry.images.clone();
        if images != now {
            self.tallies.images_changed(&images, &now);
        }
        if moved {
            self.tallies.forget();
        }
        before
    }

    /// Forgets a node's object; Pods that are still counted on it keep the entry.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.get(name).copied() else { return };
        let entry = &mut self.nodes[at];
        entry.node = None;
        let images = std::mem::take(&mut entry.images);
        self.tallies.images_changed(&images, &HashMap::new());
        self.tallies.forget();
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
        if let Some(old) = self.refresh(&info, &node) {
            return old;
        }
        let before = self.take(&info.uid).filter(|placed| !placed.assumed);
        self.place(node, info, false);
        before.map(|placed| placed.info)
    }

    /// Takes in a new version of a Pod that changes no sum, as most do; `None` when it does.
    /// Returns what was counted for it before.
    fn refresh(&mut self, info: &Arc<PodInfo>, node: &str) -> Option<Option<Arc<PodInfo>>> {
        let placed = self.placed.get_mut(&info.uid)?;
        if placed.node != node || !placed.info.counts_like(info) {
            return None;
        }
        let entry = &mut self.nodes[*self.index.get(node)?];
        let slot = entry.pods.iter_mut().find(|one| one.uid == info.uid)?;
        *slot = info.clone();
        let old = std::mem::replace(&mut placed.info, info.clone());
        let assumed = std::mem::take(&mut placed.assumed);
        self.nominations.remove(&info.uid);
        Some((!assumed).then_some(old))
    }

    /// Counts a Pod on the node we have chosen, before the API knows.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: &str) {
        self.take(&info.uid);
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
        self.nominations.remove(uid);
        self.take(uid).map(|placed| placed.info)
    }

    /// Whether a Pod is counted on some node.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn place(&mut self, node: String, info: Arc<PodInfo>, assumed: bool) {
        self.nominations.remove(&info.uid);
        let entry = self.entry(&node);
        entry.add_pod(info.clone());
        let at = self.index[&node];
        self.tallies.added(&self.nodes[at], &info, &self.namespaces);
        self.placed.insert(info.uid.clone(), Placed { node, info, assumed });
    }

    fn take(&mut self, uid: &str) -> Option<Placed> {
        let placed = self.placed.remove(uid)?;
        if let Some(at) = self.index.get(&placed.node).copied() {
            self.nodes[at].remove_pod(uid);
            self.tallies.removed(&self.nodes[at], &placed.info, &self.namespaces);
            self.drop_if_empty(at);
        }
        Some(placed)
    }

    /// Keeps room on a node for a Pod, or (without a node) no longer.
    pub fn nominate(&mut self, info: &Arc<PodInfo>, node: Option<&str>) {
        match node {
            Some(node) if !self.is_placed(&info.uid) => self.nominations.set(info, node),
            _ => self.nominations.remove(&info.uid),
        }
    }
}

/// The Pods for which preemption keeps room.
#[derive(Default)]
pub struct Nominations {
    /// The node of each, by uid.
    nodes: HashMap<String, String>,
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
}

impl Nominations {
    fn set(&mut self, info: &Arc<PodInfo>, node: &str) {
        self.remove(&info.uid);
        self.nodes.insert(info.uid.clone(), node.to_owned());
        self.by_node.entry(node.to_owned()).or_default().push(info.clone());
    }

    fn remove(&mut self, uid: &str) {
        let Some(node) = self.nodes.remove(uid) else { return };
        if let Some(all) = self.by_node.get_mut(&node) {
            all.retain(|one| one.uid != uid);
            if all.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// The node on which room is kept for a Pod.
    pub fn node(&self, uid: &str) -> Option<&str> {
        self.nodes.get(uid).map(String::as_str)
    }

    /// The Pods on a node that go before `pod`.
    pub fn before(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        if self.by_node.is_empty() {
            return Vec::new();
        }
        let all = self.by_node.get(node).into_iter().flatten();
        all.filter(|one| one.uid != pod.uid && one.priority >= pod.priority).cloned().collect()
    }

    /// The Pods on a node that `pod` goes before.
    pub fn after(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        let all = self.by_node.get(node).into_iter().flatten();
        all.filter(|one| one.uid != pod.uid && one.priority < pod.priority).cloned().collect()
    }
}
