//! A node with the sums over its Pods, kept up to date as Pods come and go.

use crate::{pod_info::PodInfo, resources::Resources, selector::Labels};
use k8s_openapi::api::core::v1::{Node, Taint};
use std::{collections::HashMap, sync::Arc};

/// A node as the scheduler sees it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// `metadata.name`.
    pub name: String,
    /// The object; absent while only Pods of it are known.
    pub node: Option<Arc<Node>>,
    /// What Pods may use.
    pub allocatable: Resources,
    /// How many Pods fit.
    pub allowed_pods: i64,
    /// The sum of its Pods' requests.
    pub requested: Resources,
    /// The sum of its Pods' cpu (milli) and memory as scoring counts them.
    pub scoring: (i64, i64),
    /// Its Pods: bound and assumed.
    pub pods: Vec<Arc<PodInfo>>,
    /// How many of them have any Pod (anti-)affinity.
    pub with_affinity: usize,
    /// The priority of the least important of them; nobody's is above `i32::MAX`.
    pub lowest_priority: i32,
    /// Its images by name, with their size.
    pub images: Arc<HashMap<String, i64>>,
    /// It is cordoned.
    pub cordoned: bool,
    /// Its taints.
    pub taints: Vec<Taint>,
}

impl NodeInfo {
    /// A node of which nothing is known yet.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), lowest_priority: i32::MAX, ..Self::default() }
    }

    /// Takes the object in.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        self.allocatable = Resources::parse(allocatable);
        self.allowed_pods =
            allocatable.and_then(|list| list.get("pods")).map_or(0, crate::resources::whole);
        let images = status.and_then(|status| status.images.as_ref());
        let sizes = images.into_iter().flatten().flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(move |name| (name.clone(), size))
        });
        self.images = Arc::new(sizes.collect());
        let spec = node.spec.as_ref();
        self.cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        self.taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        self.node = Some(node);
    }

    /// Counts a Pod.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scoring.0 += pod.scoring.0;
        self.scoring.1 += pod.scoring.1;
        self.with_affinity += usize::from(!pod.affinity.is_empty());
        self.lowest_priority = self.lowest_priority.min(pod.priority);
        self.pods.push(pod);
    }

    /// Takes a Pod out again.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.uid == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.requests);
        self.scoring.0 -= pod.scoring.0;
        self.scoring.1 -= pod.scoring.1;
        self.with_affinity -= usize::from(!pod.affinity.is_empty());
        if pod.priority == self.lowest_priority {
            let priorities = self.pods.iter().map(|pod| pod.priority);
            self.lowest_priority = priorities.min().unwrap_or(i32::MAX);
        }
        Some(pod)
    }

    /// The object. Only nodes that have one are ever shown to plugins.
    pub fn object(&self) -> &Node {
        self.node.as_deref().expect("the view holds only nodes whose object is known")
    }

    /// The node's labels.
    pub fn labels(&self) -> Option<&Labels> {
        self.node.as_ref()?.metadata.labels.as_ref()
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key).map(String::as_str)
    }
}
