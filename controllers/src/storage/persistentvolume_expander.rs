//! Claims that ask for more than they have: whoever provisions for their class has to make the
//! volume larger. None of the volumes that this cluster makes itself can grow.

use crate::{
    ctx::{Action, Ctx, Key},
    error::Error,
    manager::{Controller, Kind},
    watch::Watch,
};
use api::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::PersistentVolumeClaim, apimachinery::pkg::api::resource::Quantity as Text,
};
use std::{collections::BTreeMap, sync::Arc};

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "persistentvolume-expander-controller",
    component: "volume_expand",
    account: Some("expand-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.changes::<PersistentVolumeClaim>(|_, old, new| {
        let (Some(old), Some(new)) = (old, new) else { return Vec::new() };
        if asked(new) > asked(old) { vec![Key::of(new)] } else { Vec::new() }
    });
}

fn storage(list: Option<&BTreeMap<String, Text>>) -> Option<Quantity> {
    list?.get("storage")?.0.parse().ok()
}

fn asked(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    storage(resources.requests.as_ref())
}

/// Whether a bound claim asks for more than its volume has.
fn plan(claim: &PersistentVolumeClaim) -> bool {
    let Some(status) = &claim.status else { return false };
    let has = storage(status.capacity.as_ref());
    status.phase.as_deref() == Some("Bound") && has.is_some() && asked(claim) > has
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let claim = ctx.cache::<PersistentVolumeClaim>().get(&key.namespace, &key.name);
    if let Some(claim) = claim.filter(|claim| plan(claim)) {
        let note = "waiting for an external controller to expand this PVC";
        ctx.normal(&*claim, "ExternalExpanding", note);
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn only_a_bound_claim_that_asks_for_more_waits() {
        let claim = |wanted: &str, phase: &str| -> PersistentVolumeClaim {
            object(json!({"spec": {"resources": {"requests": {"storage": wanted}}},
                "status": {"phase": phase, "capacity": {"storage": "1Gi"}}}))
        };
        assert!(plan(&claim("2Gi", "Bound")));
        assert!(!plan(&claim("1Gi", "Bound")));
        assert!(!plan(&claim("2Gi", "Pending")));
    }
}
