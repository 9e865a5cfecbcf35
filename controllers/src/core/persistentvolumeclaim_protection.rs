//! Keeps a claim that is being deleted as long as a Pod uses it, and shows which claims no Pod
//! uses.

use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    pods,
    watch::Watch,
};
use client::{Informer, Patch};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use std::sync::Arc;

/// The finalizer that keeps it.
const FINALIZER: &str = "kubernetes.io/pvc-protection";
/// Condition of a claim that no Pod uses.
const UNUSED: &str = "Unused";
/// Index of Pods by the claims that they mount.
const BY_CLAIM: &str = "claims";

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "persistentvolumeclaim-protection-controller",
    component: "pvc-protection-controller",
    account: Some("pvc-protection-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    index(&watch.reads::<Pod>());
    watch.own::<PersistentVolumeClaim>();
    watch.changes::<Pod>(|_, old, new| {
        // Only Pods that come and go change who uses a claim.
        let changed = if old.is_some() && new.is_some() { None } else { old.or(new) };
        let names = changed.map(mounted).unwrap_or_default();
        let namespace = changed.map(pods::namespace).unwrap_or_default();
        names.iter().map(|name| Key::new(namespace, name)).collect()
    });
}

fn index(informer: &Informer<Pod>) {
    informer.index(BY_CLAIM, |pod| {
        let namespace = pods::namespace(pod);
        mounted(pod).into_iter().map(|name| format!("{namespace}/{name}")).collect()
    });
}

/// The names of the claims that a Pod mounts; generic ephemeral volumes have claims named after Pod
/// and volume.
fn mounted(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let of = |volume: &k8s_openapi::api::core::v1::Volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|one| one.claim_name.clone());
        let own = volume.ephemeral.as_ref().map(|_| format!("{}-{}", pods::name(pod), volume.name));
        named.or(own)
    };
    volumes.iter().filter_map(of).collect()
}

/// The finalizers to write, if they are to change.
fn plan(claim: &PersistentVolumeClaim, users: &[Arc<Pod>]) -> Option<Vec<String>> {
    let mut finalizers = claim.metadata.finalizers.clone().unwrap_or_default();
    let protected = finalizers.iter().any(|one| one == FINALIZER);
    let leaving = claim.metadata.deletion_timestamp.is_some();
    let used = users.iter().any(|pod| !pods::node(pod).is_empty());
    match (leaving, protected) {
        (true, true) if !used => finalizers.retain(|one| one != FINALIZER),
        (false, false) => finalizers.push(FINALIZER.into()),
        _ => return None,
    }
    Some(finalizers)
}

/// The condition to write, if what it shows has changed.
fn unused(claim: &PersistentVolumeClaim, users: &[Arc<Pod>], now: Timestamp) -> Option<Value> {
    let status = claim.status.clone().unwrap_or_default();
    let shown = status.conditions.iter().flatten().any(|one| one.type_ == UNUSED);
    let bound = status.phase.as_deref() == Some("Bound");
    match (users.is_empty(), shown) {
        (true, false) if bound => Some(json!({
            "type": UNUSED, "status": "True", "reason": "NoPodsUsingPVC",
            "message": "No pods are currently referencing this PVC",
            "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })),
        (false, true) => Some(json!({"type": UNUSED, "$patch": "delete"})),
        _ => None,
    }
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(claim) = ctx.cache::<PersistentVolumeClaim>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let users = ctx.cache::<Pod>().by_index(BY_CLAIM, &key.to_string());
    if let Some(finalizers) = plan(&claim, &users) {
        let body = json!({"metadata": {
            "uid": claim.metadata.uid,
            "resourceVersion": claim.metadata.resource_version,
            "finalizers": (!finalizers.is_empty()).then_some(finalizers)}});
        ctx.patch::<PersistentVolumeClaim>(&key, &key, Patch::Merge(body)).await?;
    } else if let Some(condition) = unused(&claim, &users, ctx.now()) {
        let body =
            json!({"metadata": {"uid": claim.metadata.uid}, "status": {"conditions": [condition]}});
        let (namespace, name) = (&key.namespace, &key.name);
        let sent = ctx
            .client
            .patch_status::<PersistentVolumeClaim>(namespace, name, Patch::Strategic(body))
            .await;
        if let Some(written) = sent.gone_is_done("show whether a claim is used")? {
            ctx.wrote(&key, &written);
        }
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};

    #[test]
    fn a_claim_goes_when_no_bound_pod_uses_it() {
        let leaving: PersistentVolumeClaim = object(json!({"metadata": {
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER, "x"]}}));
        let bound = Arc::new(pod("p", json!({"spec": {"nodeName": "n"}})));
        let unbound = Arc::new(pod("p", json!({})));
        assert_eq!(plan(&leaving, &[bound]), None);
        assert_eq!(plan(&leaving, &[unbound]), Some(vec!["x".to_owned()]));
        let new = PersistentVolumeClaim::default();
        assert_eq!(plan(&new, &[]), Some(vec![FINALIZER.to_owned()]));
    }

    #[test]
    fn a_bound_claim_shows_that_nobody_uses_it() {
        let mut claim: PersistentVolumeClaim = object(json!({"status": {"phase": "Bound"}}));
        let shown = unused(&claim, &[], Timestamp::UNIX_EPOCH).expect("new");
        assert_eq!(shown["reason"], "NoPodsUsingPVC");
        claim.status = Some(object(json!({"phase": "Bound", "conditions": [shown]})));
        assert_eq!(unused(&claim, &[], Timestamp::UNIX_EPOCH), None);
        let user = Arc::new(pod("p", json!({})));
        assert!(unused(&claim, &[user], Timestamp::UNIX_EPOCH).is_some());
    }

    #[test]
    fn ephemeral_volumes_have_claims_of_their_own() {
        let pod = pod(
            "p",
            json!({"spec": {"volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "b", "ephemeral": {}}, {"name": "d", "emptyDir": {}}]}}),
        );
        assert_eq!(mounted(&pod), ["c", "p-b"]);
    }
}
