//! A claim may only grow if the class that its volume came from allows it.

use api::quantity::Quantity;
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::{Operation, Plugin, Review, lookup};
use crate::fields;

/// What is asked for.
const WANTED: &str = "/spec/resources/requests/storage";
/// Old way to name a class.
const BETA: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

/// The plugin.
pub(super) struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Update && review.is("", "persistentvolumeclaims")
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (object, review.old) else { return Ok(()) };
        let size = |claim| fields::text(claim, WANTED).parse::<Quantity>().ok();
        let (Some(after), Some(before)) = (size(new), size(old)) else { return Ok(()) };
        if after <= before {
            return Ok(());
        }
        if fields::text(old, "/status/phase") != "Bound" {
            return Err(
                review.forbidden(Some(new), "Only bound persistent volume claims can be expanded")
            );
        }
        let class = match fields::text(old, BETA) {
            "" => fields::text(old, "/spec/storageClassName"),
            class => class,
        };
        let class = if class.is_empty() {
            None
        } else {
            lookup::object(review.call, "storage.k8s.io", "storageclasses", "", class).await?
        };
        if class.is_some_and(|class| fields::flag(&class, "/allowVolumeExpansion")) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that \
                   provisions the pvc must support resize";
        Err(review.forbidden(Some(new), why))
    }
}
