//! A new Node takes no Pods until it says that it is ready.

use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Plugin, Review};
use crate::fields;

/// The taint's key.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.creates("", "nodes")
    }

    async fn mutate(&self, _review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(node) = object else { return Ok(()) };
        let mut taints = fields::list(node, "/spec/taints").to_vec();
        let has = |taint: &Value| {
            fields::text(taint, "/key") == NOT_READY
                && fields::text(taint, "/effect") == "NoSchedule"
        };
        if !taints.iter().any(has) {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            fields::set(node, "/spec/taints", taints);
        }
        Ok(())
    }
}
