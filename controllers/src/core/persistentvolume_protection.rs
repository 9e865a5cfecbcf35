//! Keeps a volume that is being deleted as long as a claim is bound to it.

use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use k8s_openapi::api::core::v1::PersistentVolume;
use std::sync::Arc;

/// The finalizer that keeps it.
const FINALIZER: &str = "kubernetes.io/pv-protection";

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "persistentvolume-protection-controller",
    component: "pv-protection-controller",
    account: Some("pv-protection-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<PersistentVolume>();
}

/// The finalizers to write, if they are to change.
fn plan(volume: &PersistentVolume) -> Option<Vec<String>> {
    let mut finalizers = volume.metadata.finalizers.clone().unwrap_or_default();
    let protected = finalizers.iter().any(|one| one == FINALIZER);
    let leaving = volume.metadata.deletion_timestamp.is_some();
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    match (leaving, protected) {
        (true, true) if phase != Some("Bound") => finalizers.retain(|one| one != FINALIZER),
        (false, false) => finalizers.push(FINALIZER.into()),
        _ => return None,
    }
    Some(finalizers)
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(volume) = ctx.cache::<PersistentVolume>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    if let Some(finalizers) = plan(&volume) {
        let mut volume = (*volume).clone();
        volume.metadata.finalizers = Some(finalizers);
        let sent = ctx.client.update(&volume).await;
        if let Some(written) = sent.gone_is_done("protect a volume")? {
            ctx.wrote(&key, &written);
        }
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn a_bound_volume_stays() {
        let volume = |phase: &str| -> PersistentVolume {
            object(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z",
                "finalizers": [FINALIZER]}, "status": {"phase": phase}}))
        };
        assert_eq!(plan(&volume("Bound")), None);
        assert_eq!(plan(&volume("Released")), Some(Vec::new()));
    }
}
