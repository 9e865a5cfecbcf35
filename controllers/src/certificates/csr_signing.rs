//! Signs approved requests with the cluster's own authority, for Kubernetes' own signers.
//!
//! A request that its signer's rules forbid gets the condition Failed and stays unsigned for ever.
//! Without an authority in the settings nothing is signed.

use super::{condition, is_issued, signers, with_condition};
use crate::{
    ctx::{Action, Ctx, Key},
    error::Error,
    manager::{Controller, Kind},
    watch::Watch,
};
use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequest};
use std::{sync::Arc, time::Duration};
use stdx::csr::{Request, Usage};

/// The longest life of a certificate: `--cluster-signing-duration`.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest that one may ask for.
const SHORTEST: Duration = Duration::from_secs(600);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "certificatesigningrequest-signing-controller",
    component: "certificatesigningrequest-signing-controller",
    account: Some("certificate-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<CertificateSigningRequest>();
}

/// How long a certificate lives.
fn lifetime(asked: Option<i32>) -> Duration {
    let asked = asked.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    asked.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(object) = ctx.cache::<CertificateSigningRequest>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    let Some(authority) = &ctx.config.signing else { return Ok(Action::Done) };
    let spec = &object.spec;
    let waits = condition(&object, "Approved").is_some()
        && condition(&object, "Denied").is_none()
        && condition(&object, "Failed").is_none()
        && !is_issued(&object);
    if !waits || !signers::is_ours(&spec.signer_name) {
        return Ok(Action::Done);
    }
    let pem = String::from_utf8_lossy(&spec.request.0);
    let usages = spec.usages.clone().unwrap_or_default();
    let refused = match Request::parse(&pem) {
        Err(error) => stdx::chain(&error),
        Ok(request) => match signers::refusal(&spec.signer_name, &request, &usages) {
            Some(text) => text,
            None => {
                let granted: Vec<Usage> =
                    usages.iter().filter_map(|name| signers::usage(name)).collect();
                let signed =
                    request.sign(authority.get(), &granted, lifetime(spec.expiration_seconds));
                let signed = signed.map_err(|error| Error::State(stdx::chain(&error)))?;
                let mut object = CertificateSigningRequest::clone(&object);
                let certificate = ByteString(signed.into_bytes());
                object.status.get_or_insert_default().certificate = Some(certificate);
                ctx.update_status(&key, &object).await?;
                return Ok(Action::Done);
            }
        },
    };
    let failed =
        with_condition(&object, ("Failed", "SignerValidationFailure", &refused), ctx.now());
    ctx.update_status(&key, &failed).await?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_more_than_a_year_or_less_than_ten_minutes() {
        assert_eq!(lifetime(None), LONGEST);
        assert_eq!(lifetime(Some(3600)), Duration::from_secs(3600));
        assert_eq!(lifetime(Some(1)), SHORTEST);
        assert_eq!(lifetime(Some(i32::MAX)), LONGEST);
    }
}
