//! Certificates are approved and signed only by those who may do so for their signer.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::access::Attributes;
use crate::fields;

/// Group of signing requests.
const GROUP: &str = "certificates.k8s.io";
/// The signing requests.
const PLURAL: &str = "certificatesigningrequests";

/// The plugin.
pub(super) struct CertificateApproval;

#[async_trait]
impl Plugin for CertificateApproval {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Update
            && review.is_any_door(GROUP, PLURAL)
            && matches!(review.subresource(), "approval" | "status")
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (object, review.old) else { return Ok(()) };
        let approves = review.subresource() == "approval";
        let changed = |path: &str| new.pointer(path) != old.pointer(path);
        if !approves && !changed("/status/certificate") {
            return Ok(());
        }
        let (verb, what) = if approves { ("approve", "approve") } else { ("sign", "sign") };
        let signer = fields::text(old, "/spec/signerName");
        if may(review, verb, signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to {what} requests with signerName {signer:?}");
        Err(review.forbidden(Some(new), &why))
    }
}

/// Whether the user has the verb for the signer, or for all signers of its domain.
pub(super) async fn may(review: &Review<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    let wildcard = format!("{domain}/*");
    for name in [signer, &wildcard] {
        let wanted = Attributes {
            verb,
            is_resource: true,
            group: GROUP,
            resource: "signers",
            name,
            ..Attributes::default()
        };
        if review.call.server.access.decide(&review.call.user, &wanted).await.allowed {
            return true;
        }
    }
    false
}
