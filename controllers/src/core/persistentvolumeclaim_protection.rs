//! Keeps a claim that is being deleted as long as a Pod uses it.

use crate::{
    ctx::{Action, Ctx, Key},
    error::Error,
    manager::{Controller, Kind},
    pods,
    watch::Watch,
};
use client::{Informer, Patch};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;
use std::sync::Arc;

/// The finalizer that keeps it.
const FINALIZER: &str = "kubernetes.io/pvc-protection";
/// Index of Pods by the claims that they mount.
const BY_CLAIM: &str = "claims";

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "persistentvolumeclaim-protection-controller",
    component: "pvc-protection-controller",
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    index(&watch.reads::<Pod>());
    watch.own::<PersistentVolumeClaim>();
    watch.changes::<Pod>(|_, old, new| {
        // Only a Pod that goes lets a claim go.
        let gone = old.filter(|_| new.is_none());
        let names = gone.map(mounted).unwrap_or_default();
        let namespace = gone.map(pods::namespace).unwrap_or_default();
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
