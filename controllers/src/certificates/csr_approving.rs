//! Approves client certificates of node agents, when RBAC says that whoever asks may have one.

use super::{condition, is_issued, signers, with_condition};
use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use http::Method;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Value, json};
use std::sync::Arc;
use stdx::csr::Request;

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "certificatesigningrequest-approving-controller",
    component: "certificatesigningrequest-approving-controller",
    account: Some("certificate-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<CertificateSigningRequest>();
}

/// The subresource that a requester must be allowed to create, and what approval says.
type Right = (&'static str, &'static str);

/// The rights that would do, the narrowest first.
fn rights(object: &CertificateSigningRequest) -> Vec<Right> {
    let spec = &object.spec;
    if spec.signer_name != signers::KUBELET_CLIENT {
        return Vec::new();
    }
    let pem = String::from_utf8_lossy(&spec.request.0);
    let Ok(request) = Request::parse(&pem) else { return Vec::new() };
    let usages = spec.usages.clone().unwrap_or_default();
    if signers::kubelet_client(&request, &usages).is_some() {
        return Vec::new();
    }
    let mut all = Vec::new();
    if spec.username.as_deref() == Some(request.common_name.as_str()) {
        all.push((
            "selfnodeclient",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ));
    }
    all.push((
        "nodeclient",
        "Auto approving kubelet client certificate after SubjectAccessReview.",
    ));
    all
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(object) = ctx.cache::<CertificateSigningRequest>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    let decided = condition(&object, "Approved").or_else(|| condition(&object, "Denied"));
    if is_issued(&object) || decided.is_some() {
        return Ok(Action::Done);
    }
    for (subresource, message) in rights(&object) {
        if !is_allowed(&ctx, &object, subresource).await? {
            continue;
        }
        let approved = with_condition(&object, ("Approved", "AutoApproved", message), ctx.now());
        let path = format!(
            "/apis/certificates.k8s.io/v1/certificatesigningrequests/{}/approval",
            key.name
        );
        let body = json!(approved);
        let sent = ctx.client.request(Method::PUT, &path, Some(&body)).await;
        sent.gone_is_done("approve a certificate")?;
        break;
    }
    Ok(Action::Done)
}

/// Whether who asks may have such a certificate.
async fn is_allowed(
    ctx: &Ctx,
    object: &CertificateSigningRequest,
    subresource: &str,
) -> Result<bool, Error> {
    let spec = &object.spec;
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": spec.username, "uid": spec.uid, "groups": spec.groups,
            "extra": spec.extra, "resourceAttributes": {"group": "certificates.k8s.io",
                "resource": "certificatesigningrequests", "verb": "create",
                "version": "*", "subresource": subresource}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = ctx.client.request(Method::POST, path, Some(&body)).await;
    let answer: Value = answer.doing("ask for a right")?;
    Ok(answer["status"]["allowed"] == json!(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    #[test]
    fn only_readable_requests_of_agents_are_approved() {
        let request: CertificateSigningRequest = object(json!({"spec": {"request": "eA==",
            "signerName": signers::KUBELET_CLIENT}}));
        assert!(rights(&request).is_empty());
        let request: CertificateSigningRequest =
            object(json!({"spec": {"request": "eA==", "signerName": signers::CLIENT}}));
        assert!(rights(&request).is_empty());
    }
}
