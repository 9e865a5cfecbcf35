//! Things that happen in the cluster and may make a refused Pod schedulable.

use crate::{node_info::NodeInfo, pod_info::PodInfo};
use k8s_openapi::api::core::v1::Node;

/// Something that happened.
pub enum Event<'a> {
    /// A node appeared.
    NodeAdded(&'a NodeInfo),
    /// A node changed.
    NodeChanged {
        /// Before.
        old: &'a Node,
        /// After.
        new: &'a NodeInfo,
    },
    /// A node went away.
    NodeRemoved,
    /// A Pod was bound.
    PodBound(&'a PodInfo),
    /// A bound Pod changed.
    PodChanged {
        /// Before.
        old: &'a PodInfo,
        /// After.
        new: &'a PodInfo,
    },
    /// A bound Pod went away or finished.
    PodGone(&'a PodInfo),
    /// The refused Pod itself changed.
    SelfChanged {
        /// Before.
        old: &'a PodInfo,
    },
    /// A namespace's labels changed.
    NamespaceChanged,
    /// A Service or an owner of Pods changed.
    WorkloadChanged,
    /// A claim, a volume, a class or a node's drivers changed.
    StorageChanged,
}

impl Event<'_> {
    /// The node that appeared or changed.
    pub fn node(&self) -> Option<&NodeInfo> {
        match self {
            Self::NodeAdded(node) | Self::NodeChanged { new: node, .. } => Some(node),
            _ => None,
        }
    }

    /// Whether the labels of a node changed (or a node came or went).
    pub fn moves_topology(&self) -> bool {
        match self {
            Self::NodeAdded(_) | Self::NodeRemoved => true,
            Self::NodeChanged { old, new } => {
                let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
                old.metadata.labels != new.object().metadata.labels
                    || taints(old) != taints(new.object())
            }
            _ => false,
        }
    }

    /// Whether Pods came, went or changed labels.
    pub fn moves_pods(&self) -> bool {
        match self {
            Self::PodBound(_) | Self::PodGone(_) | Self::NamespaceChanged => true,
            Self::PodChanged { old, new } => {
                old.pod.metadata.labels != new.pod.metadata.labels
                    || old.terminating != new.terminating
            }
            _ => false,
        }
    }
}
