//! What a node's agent may write: itself and its own Pods, and of those only what is its business.
//!
//! Authorization has settled which kinds of objects it may touch at all; this is about which of
//! them, and which fields.

mod node;
mod pod;
mod token;

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::fields;

/// Namespace of the nodes' Leases.
const LEASES: &str = "kube-node-lease";

/// The plugin.
pub(super) struct NodeRestriction;

#[async_trait]
impl Plugin for NodeRestriction {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.call.user.node().is_some()
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(node) = review.call.user.node() else { return Ok(()) };
        let object = object.as_deref();
        let resource = &review.call.kind.resource;
        let result = match (resource.group, resource.plural, review.subresource()) {
            ("", "pods", "eviction") => pod::check_eviction(review, node).await?,
            ("", "pods", _) => pod::check(review, node, object).await?,
            ("", "nodes", _) => node::check(review, node, object),
            ("", "serviceaccounts", "token") => token::check(review, node, object).await?,
            ("coordination.k8s.io", "leases", _) => lease(review, node, object),
            ("storage.k8s.io", "csinodes", _) => csi_node(review, node, object),
            ("resource.k8s.io", "resourceslices", _) => slice(review, node, object),
            _ => Ok(()),
        };
        result.map_err(|why| review.forbidden(object.or(review.old), &why))
    }
}

fn lease(review: &Review<'_>, node: &str, object: Option<&Value>) -> Result<(), String> {
    if review.call.namespace() != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if review.name(object) != node {
        return Err(
            "can only access node lease with the same name as the requesting node".to_owned()
        );
    }
    Ok(())
}

fn csi_node(review: &Review<'_>, node: &str, object: Option<&Value>) -> Result<(), String> {
    if review.name(object) == node {
        return Ok(());
    }
    Err("can only access CSINode with the same name as the requesting node".to_owned())
}

fn slice(review: &Review<'_>, node: &str, object: Option<&Value>) -> Result<(), String> {
    let Some(slice) = object.or(review.old) else { return Ok(()) };
    if review.operation == Operation::Update || fields::text(slice, "/spec/nodeName") == node {
        return Ok(());
    }
    Err("can only create/delete ResourceSlice with the same NodeName as the requesting node"
        .to_owned())
}
