//! Removes requests that nobody needs any more: decided ones after an hour, others after a day.

use super::{condition, is_issued};
use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::{sync::Arc, time::Duration};

/// How long an issued, denied or failed request stays.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// How long one stays that waits for a decision or a certificate.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "certificatesigningrequest-cleaner-controller",
    component: "certificatesigningrequest-cleaner-controller",
    account: Some("certificate-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<CertificateSigningRequest>();
}

/// When a request may go.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let decided = ["Denied", "Failed", "Approved"].iter().find_map(|type_| {
        let pending = *type_ == "Approved" && !is_issued(request);
        let found = condition(request, type_).filter(|_| !pending)?;
        found.last_update_time.as_ref().map(|time| time.0 + DECIDED)
    });
    let created = request.metadata.creation_timestamp.as_ref();
    decided.or_else(|| created.map(|time| time.0 + PENDING))
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(request) = ctx.cache::<CertificateSigningRequest>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    let Some(end) = end(&request) else { return Ok(Action::Done) };
    let left = end.duration_since(ctx.now());
    if left.is_positive() {
        let left = Duration::try_from(left).unwrap_or_default();
        return Ok(Action::After(left + Duration::from_secs(1)));
    }
    ctx.delete(&key, &*request).await.doing("remove an old certificate request")?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn decided_requests_go_sooner() {
        let created = "2026-01-01T00:00:00Z";
        let with = |status: serde_json::Value| -> CertificateSigningRequest {
            object(json!({"metadata": {"creationTimestamp": created},
                "spec": {"request": "", "signerName": "x"}, "status": status}))
        };
        let at = |text: &str| Some(text.parse::<Timestamp>().expect("a time"));
        assert_eq!(end(&with(json!({}))), at("2026-01-02T00:00:00Z"));
        let conditions = json!([{"type": "Approved", "status": "True",
            "lastUpdateTime": "2026-01-01T05:00:00Z"}]);
        let waiting = with(json!({"conditions": conditions}));
        assert_eq!(end(&waiting), at("2026-01-02T00:00:00Z"));
        let issued = with(json!({"conditions": conditions, "certificate": "eA=="}));
        assert_eq!(end(&issued), at("2026-01-01T06:00:00Z"));
    }
}
