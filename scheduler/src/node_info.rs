//! A node with the sums over its Pods, kept up to date as Pods come and go.

use crate::{pod_info::PodInfo, resources::Resources, selector::Labels};
use k8s_openapi::api::core::v1::Node;
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
    /// How many of them have required anti-affinity.
    pub with_required_anti: usize,
    /// Its images by name, with their size.
    pub images: HashMap<String, i64>,
}

impl NodeInfo {
    /// A node of which nothing is known yet.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Takes the object in.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        self.allocatable = Resources::parse(allocatable);
        self.allowed_pods =
            allocatable.and_then(|list| list.get("pods")).map_or(0, crate::resources::whole);
        self.images = status
            .and_then(|status| status.images.as_ref())
            .into_iter()
            .flatten()
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image.names.iter().flatten().map(move |name| (name.clone(), size))
            })
            .collect();
        self.node = Some(node);
    }

    /// Counts a Pod.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scoring.0 += pod.scoring.0;
        self.scoring.1 += pod.scoring.1;
        self.with_affinity += usize::from(!pod.affinity.is_empty());
        self.with_required_anti += usize::from(!pod.affinity.required_anti.is_empty());
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
        self.with_required_anti -= usize::from(!pod.affinity.required_anti.is_empty());
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
