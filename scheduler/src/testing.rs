//! Small builders that the tests of this crate share.

use crate::{
    config::Config,
    framework::World,
    node_info::NodeInfo,
    pod_info::{Namespaces, PodInfo},
    selector::Selector,
    volumes::Volumes,
    workloads::Workloads,
};
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSINode, StorageClass},
};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// No Service selects anything, unless a selector is given.
pub(crate) struct Fixed(pub(crate) Option<Selector>);

impl Workloads for Fixed {
    fn selector(&self, _pod: &PodInfo) -> Option<Selector> {
        self.0.clone()
    }
}

/// There are no volumes.
pub(crate) struct NoVolumes;

impl Volumes for NoVolumes {
    fn claim(&self, _namespace: &str, _name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        None
    }

    fn volume(&self, _name: &str) -> Option<Arc<PersistentVolume>> {
        None
    }

    fn of_class(&self, _class: &str) -> Vec<Arc<PersistentVolume>> {
        vec![]
    }

    fn class(&self, _name: &str) -> Option<Arc<StorageClass>> {
        None
    }

    fn drivers(&self, _node: &str) -> Option<Arc<CSINode>> {
        None
    }
}

/// These workloads and no volumes.
pub(crate) fn fixed(workloads: &Fixed) -> World<'_> {
    World { workloads, volumes: &NoVolumes }
}

/// A Pod of this name and spec; `spec.labels` become its labels.
pub(crate) fn pod(name: &str, mut spec: Value) -> Arc<Pod> {
    let labels = spec.as_object_mut().and_then(|spec| spec.remove("labels"));
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c", "image": "x"}]);
    }
    let object = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "generation": 1,
            "labels": labels.unwrap_or(json!({}))},
        "spec": spec,
    });
    Arc::new(serde_json::from_value(object).expect("a test's Pod is well formed"))
}

/// A Pod that asks for cpu.
pub(crate) fn asking(name: &str, cpu: &str, mut spec: Value) -> Arc<Pod> {
    spec["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
    pod(name, spec)
}

/// What plugins see of a Pod.
pub(crate) fn info(pod: Arc<Pod>) -> PodInfo {
    PodInfo::new(pod)
}

/// A node of 4 cpus and 8 GiB with these labels and spec.
pub(crate) fn node(name: &str, labels: Value, spec: Value) -> Arc<Node> {
    sized(name, labels, spec, json!({"cpu": "4", "memory": "8Gi", "pods": "110"}))
}

/// A node of this size.
pub(crate) fn sized(name: &str, mut labels: Value, spec: Value, allocatable: Value) -> Arc<Node> {
    labels["kubernetes.io/hostname"] = json!(name);
    let object = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": allocatable},
    });
    Arc::new(serde_json::from_value(object).expect("a test's node is well formed"))
}

/// What plugins see of a node with Pods.
pub(crate) fn holding(node: Arc<Node>, pods: Vec<Arc<Pod>>) -> NodeInfo {
    let mut all = NodeInfo::named(node.metadata.name.as_deref().unwrap_or_default());
    all.set_node(node);
    pods.into_iter().for_each(|pod| all.add_pod(Arc::new(info(pod))));
    all
}

/// No namespace has labels.
pub(crate) fn namespaces() -> Namespaces {
    HashMap::new()
}

/// The default settings.
pub(crate) fn config() -> Config {
    Config::default()
}
