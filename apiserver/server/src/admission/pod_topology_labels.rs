//! A Pod that is made for a Node gets the Node's zone and region as labels.

use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Plugin, Review, lookup};
use crate::fields;

/// Labels that are copied.
const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// The plugin.
pub(super) struct PodTopologyLabels;

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.creates("", "pods")
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(pod) = object else { return Ok(()) };
        let node = fields::text(pod, "/spec/nodeName");
        if node.is_empty() {
            return Ok(());
        }
        if let Some(node) = lookup::object(review.call, "", "nodes", "", node).await? {
            copy(pod, &node);
        }
        Ok(())
    }
}

/// Copies the labels that the Pod does not have itself.
fn copy(pod: &mut Value, node: &Value) {
    let mut labels = pod.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    let mut changed = false;
    for label in LABELS {
        let value = node.pointer("/metadata/labels").and_then(|labels| labels.get(label));
        if let Some(value) = value.filter(|_| labels.get(label).is_none()) {
            labels[label] = value.clone();
            changed = true;
        }
    }
    if changed {
        fields::set(pod, "/metadata/labels", labels);
    }
}
