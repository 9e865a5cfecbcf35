//! A bundle that speaks for a signer is written only by those who may attest for that signer.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::certificate_approval::may;
use super::{Operation, Plugin, Review};
use crate::fields;

/// The plugin.
pub(super) struct ClusterTrustBundleAttest;

#[async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn handles(&self, review: &Review<'_>) -> bool {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        writes && review.is("certificates.k8s.io", "clustertrustbundles")
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(bundle) = object else { return Ok(()) };
        let same = review.old.is_some_and(|old| old.get("spec") == bundle.get("spec"));
        let signer = fields::text(bundle, "/spec/signerName");
        if signer.is_empty() || same || may(review, "attest", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to attest for signerName {signer:?}");
        Err(review.forbidden(Some(bundle), &why))
    }
}
