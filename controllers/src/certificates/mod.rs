//! Certificate signing requests: who approves them, who signs them, who removes old ones.

pub(crate) mod csr_approving;
pub(crate) mod csr_cleaner;
pub(crate) mod csr_signing;
mod signers;

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The condition of a type that is true.
pub(crate) fn condition<'a>(
    request: &'a CertificateSigningRequest,
    type_: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = request.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == type_ && one.status == "True")
}

/// The request with one more condition.
pub(crate) fn with_condition(
    request: &CertificateSigningRequest,
    (type_, reason, message): (&str, &str, &str),
    now: jiff::Timestamp,
) -> CertificateSigningRequest {
    let mut request = request.clone();
    let status = request.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: type_.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
    request
}

/// Whether a certificate was issued.
pub(crate) fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}
