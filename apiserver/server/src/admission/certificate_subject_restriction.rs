//! Nobody asks for a client certificate of the group that may do everything.

use api::status::Status;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Plugin, Review};
use crate::fields;

/// The signer whose certificates the server takes for users.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// The group.
const MASTERS: &str = "system:masters";

/// The plugin.
pub(super) struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.creates("certificates.k8s.io", "certificatesigningrequests")
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(request) = object else { return Ok(()) };
        if fields::text(request, "/spec/signerName") != SIGNER {
            return Ok(());
        }
        let asked = STANDARD.decode(fields::text(request, "/spec/request")).unwrap_or_default();
        let Some(groups) = organizations(&asked) else {
            return Err(review.forbidden(Some(request), "unable to parse CSR"));
        };
        if groups.iter().any(|group| group == MASTERS) {
            let why = format!("use of {SIGNER} signer with {MASTERS} group is not allowed");
            return Err(review.forbidden(Some(request), &why));
        }
        Ok(())
    }
}

/// The organizations that a request in PEM asks for.
fn organizations(text: &[u8]) -> Option<Vec<String>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(text).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &request.certification_request_info.subject;
    let names = subject.iter_organization().map(|name| name.as_str().map(str::to_owned));
    names.collect::<Result<_, _>>().ok()
}
