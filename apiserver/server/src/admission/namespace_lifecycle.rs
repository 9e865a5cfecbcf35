//! Nothing new in a namespace that is missing or on its way out; some namespaces stay for ever.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::{Operation, Plugin, Review, lookup};
use crate::fields;

/// Namespaces that can't be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The plugin.
pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn handles(&self, review: &Review<'_>) -> bool {
        let call = review.call;
        if call.kind.is("", "namespaces") {
            return review.operation == Operation::Delete;
        }
        // Reviews of access tell nothing about namespaces, so they are answered in any.
        review.operation == Operation::Create
            && !call.namespace().is_empty()
            && (call.kind.resource.group != "authorization.k8s.io")
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let object = object.as_deref();
        if review.operation == Operation::Delete {
            let name = review.name(review.old);
            if IMMORTAL.contains(&name) {
                return Err(review.forbidden(review.old, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        let namespace = review.call.namespace();
        let Some(found) = lookup::object(review.call, "", "namespaces", "", namespace).await?
        else {
            return Err(Status::not_found("", "namespaces", namespace));
        };
        if fields::text(&found, "/status/phase") != "Terminating" {
            return Ok(());
        }
        let mut status = review.forbidden(
            object,
            &format!(
                "unable to create new content in namespace {namespace} because it is being \
                 terminated"
            ),
        );
        let text = format!("namespace {namespace} is being terminated");
        status.add_cause("NamespaceTerminating", &text, "metadata.namespace");
        Err(status)
    }
}
