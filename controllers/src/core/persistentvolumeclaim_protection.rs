//! Keeps a claim that is being deleted as long as a Pod uses it, and shows which claims no Pod
//! uses.

use crate::{
    ctx::{Action, Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    pods,
    watch::Watch,
};
use client::Informer;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimCondition, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
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

/// The conditions to write, if what they show has changed.
fn unused(
    claim: &PersistentVolumeClaim,
    users: &[Arc<Pod>],
    now: Timestamp,
) -> Option<Vec<PersistentVolumeClaimCondition>> {
    let status = claim.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.unwrap_or_default();
    let shown = conditions.iter().any(|one| one.type_ == UNUSED);
    let bound = status.phase.as_deref() == Some("Bound");
    match (users.is_empty(), shown) {
        (true, false) if bound => conditions.push(PersistentVolumeClaimCondition {
            type_: UNUSED.into(),
            status: "True".into(),
            reason: Some("NoPodsUsingPVC".into()),
            message: Some("No pods are currently referencing this PVC".into()),
            last_transition_time: Some(Time(seconds(now))),
            ..PersistentVolumeClaimCondition::default()
        }),
        (false, true) => conditions.retain(|one| one.type_ != UNUSED),
        _ => return None,
    }
    Some(conditions)
}

/// A time as the API shows it: without what is below a second.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(claim) = ctx.cache::<PersistentVolumeClaim>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let users = ctx.cache::<Pod>().by_index(BY_CLAIM, &key.to_string());
    if let Some(finalizers) = plan(&claim, &users) {
        let mut claim = (*claim).clone();
        claim.metadata.finalizers = Some(finalizers);
        let sent = ctx.client.update(&claim).await;
        if let Some(written) = sent.gone_is_done("protect a claim")? {
            ctx.wrote(&key, &written);
        }
    } else if let Some(conditions) = unused(&claim, &users, ctx.now()) {
        let mut claim = (*claim).clone();
        claim.status.get_or_insert_default().conditions = Some(conditions);
        let sent = ctx.client.update_status(&claim).await;
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
    use serde_json::json;

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
        assert_eq!(shown[0].reason.as_deref(), Some("NoPodsUsingPVC"));
        claim.status = Some(object(json!({"phase": "Bound", "conditions": shown})));
        assert_eq!(unused(&claim, &[], Timestamp::UNIX_EPOCH), None);
        let user = Arc::new(pod("p", json!({})));
        assert_eq!(unused(&claim, &[user], Timestamp::UNIX_EPOCH), Some(Vec::new()));
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
