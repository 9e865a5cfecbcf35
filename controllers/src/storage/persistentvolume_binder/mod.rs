//! Binds claims to volumes.
//!
//! A binding is written in four steps, each of which any replica can go on from: the volume's
//! `claimRef`, the volume's phase, the claim's `volumeName`, the claim's status. The first write
//! decides: it names the volume's revision, so that two claims can't have one volume. Keys without
//! namespace are volumes.

mod fit;

use crate::{
    ctx::{Action, Ctx, Key, owned},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim},
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::sync::Arc;

/// Annotation of a claim whose binding is complete.
const COMPLETE: &str = "pv.kubernetes.io/bind-completed";
/// Annotation of what this controller chose, as opposed to a user.
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Annotation of a claim that the scheduler chose a node for.
const NODE: &str = "volume.kubernetes.io/selected-node";
/// Annotations that name a claim's provisioner, old and new.
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// Annotation of the class that claims get that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "persistentvolume-binder-controller",
    component: "persistentvolume-controller",
    account: Some("persistent-volume-binder"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<PersistentVolumeClaim>();
    watch.changes::<PersistentVolumeClaim>(|_, old, new| {
        let volume = |claim: &PersistentVolumeClaim| {
            claim.spec.as_ref().and_then(|spec| spec.volume_name.clone())
        };
        let names = old.and_then(volume).into_iter().chain(new.and_then(volume));
        names.map(|name| Key::new("", &name)).collect()
    });
    watch.own::<PersistentVolume>();
    // A volume that comes, or is free again, may be what a claim waits for.
    watch.changes::<PersistentVolume>(|ctx, old, new| {
        let Some(any) = new.or(old) else { return Vec::new() };
        let held = any.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        if let Some(held) = held {
            let (namespace, name) = (held.namespace.as_deref(), held.name.as_deref());
            return vec![Key::new(namespace.unwrap_or_default(), name.unwrap_or_default())];
        }
        waiting(ctx)
    });
    watch.maps::<StorageClass>(|ctx, _| waiting(ctx));
}

/// The claims that are not bound.
fn waiting(ctx: &Ctx) -> Vec<Key> {
    let all = ctx.cache::<PersistentVolumeClaim>().list();
    all.iter().filter(|claim| !is_bound(claim)).map(|claim| Key::of(&**claim)).collect()
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(COMPLETE))
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    if key.namespace.is_empty() {
        return volume(&ctx, &key).await;
    }
    let Some(claim) = ctx.cache::<PersistentVolumeClaim>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    if is_bound(&claim) {
        bound_claim(&ctx, &key, &claim).await
    } else if claim.metadata.deletion_timestamp.is_some() {
        Ok(Action::Done)
    } else {
        free_claim(&ctx, &key, &claim).await
    }
}

/// A claim whose binding is complete: is the volume still there, and still its own?
async fn bound_claim(
    ctx: &Ctx,
    key: &Key,
    claim: &Arc<PersistentVolumeClaim>,
) -> Result<Action, Error> {
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let found = name.and_then(|name| ctx.cache::<PersistentVolume>().get("", name));
    let Some(found) = found else {
        let note = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lose(ctx, key, claim, "ClaimLost", note).await;
    };
    let held = found.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    if held.is_none() || fit::is_for(&found, claim) {
        return bind(ctx, key, &found, claim).await;
    }
    let note = "Two claims are bound to the same volume, this one is bound incorrectly";
    lose(ctx, key, claim, "ClaimMisbound", note).await
}

async fn lose(
    ctx: &Ctx,
    key: &Key,
    claim: &Arc<PersistentVolumeClaim>,
    reason: &str,
    note: &str,
) -> Result<Action, Error> {
    let mut claim = owned(claim);
    let status = claim.status.get_or_insert_default();
    if status.phase.as_deref() != Some("Lost") {
        status.phase = Some("Lost".into());
        status.capacity = None;
        status.access_modes = None;
        let written = ctx.update_status(key, &claim).await?;
        ctx.warning(&written, reason, note);
    }
    Ok(Action::Done)
}

/// A claim that waits for a volume.
async fn free_claim(
    ctx: &Ctx,
    key: &Key,
    claim: &Arc<PersistentVolumeClaim>,
) -> Result<Action, Error> {
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let named = named.filter(|name| !name.is_empty());
    let volumes = ctx.cache::<PersistentVolume>();
    if let Some(name) = named {
        let Some(found) = volumes.get("", name) else { return Ok(Action::Done) };
        let held = found.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        if fit::is_for(&found, claim) {
            return bind(ctx, key, &found, claim).await;
        }
        if held {
            let note = format!("volume \"{name}\" already bound to a different claim.");
            ctx.warning(&**claim, "FailedBinding", &note);
            return Ok(Action::Done);
        }
        if let Some(why) = fit::mismatch(&found, claim) {
            let note = format!("Cannot bind to requested volume \"{name}\": {why}");
            ctx.warning(&**claim, "VolumeMismatch", &note);
            return Ok(Action::Done);
        }
        return bind(ctx, key, &found, claim).await;
    }
    let class = match fit::class(claim) {
        Some(class) => class.to_owned(),
        None => match default_class(ctx) {
            Some(class) => {
                let mut claim = owned(claim);
                claim.spec.get_or_insert_default().storage_class_name = Some(class);
                ctx.update(key, &claim).await?;
                return Ok(Action::Done);
            }
            None => String::new(),
        },
    };
    let class = ctx.cache::<StorageClass>().get("", &class);
    let annotations = claim.metadata.annotations.as_ref();
    let chosen = annotations.is_some_and(|all| all.contains_key(NODE));
    let waits = class
        .as_ref()
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let best = fit::best(claim, &volumes.list());
    let held = best.as_ref().is_some_and(|best| fit::is_for(best, claim));
    match best {
        Some(best) if held || !waits => bind(ctx, key, &best, claim).await,
        _ if waits && !chosen => {
            let note = "waiting for first consumer to be created before binding";
            ctx.normal(&**claim, "WaitForFirstConsumer", note);
            Ok(Action::Done)
        }
        _ => provision(ctx, key, claim, class.as_deref()).await,
    }
}

fn default_class(ctx: &Ctx) -> Option<String> {
    let mut all = ctx.cache::<StorageClass>().list();
    all.retain(|class| {
        let annotations = class.metadata.annotations.as_ref();
        let text = annotations.and_then(|all| all.get(DEFAULT_CLASS));
        text.is_some_and(|text| text == "true")
    });
    // The newest wins; the name decides between those of one second.
    all.sort_by_key(|class| {
        (class.metadata.creation_timestamp.clone(), class.metadata.name.clone())
    });
    all.last().and_then(|class| class.metadata.name.clone())
}

/// No volume suits: whoever provisions for the class is asked to make one.
async fn provision(
    ctx: &Ctx,
    key: &Key,
    claim: &Arc<PersistentVolumeClaim>,
    class: Option<&StorageClass>,
) -> Result<Action, Error> {
    let named = fit::class(claim).unwrap_or_default();
    let Some(class) = class else {
        if named.is_empty() {
            let note = "no persistent volumes available for this claim and no storage class is set";
            ctx.normal(&**claim, "FailedBinding", note);
        } else {
            let note = format!("storageclass.storage.k8s.io \"{named}\" not found");
            ctx.warning(&**claim, "ProvisioningFailed", &note);
        }
        return Ok(Action::Done);
    };
    let provisioner = &class.provisioner;
    if provisioner.starts_with("kubernetes.io/") {
        let note = format!("no volume plugin matched name: {provisioner}");
        ctx.warning(&**claim, "ProvisioningFailed", &note);
        return Ok(Action::Done);
    }
    let annotations = claim.metadata.annotations.clone().unwrap_or_default();
    if PROVISIONER.iter().any(|name| annotations.get(*name) != Some(provisioner)) {
        let mut claim = owned(claim);
        let annotations = claim.metadata.annotations.get_or_insert_default();
        for name in PROVISIONER {
            annotations.insert(name.into(), provisioner.clone());
        }
        ctx.update(key, &claim).await?;
    }
    let note = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or \
         manually by the system administrator. If volume creation is delayed, please verify that \
         the provisioner is running and correctly registered."
    );
    ctx.normal(&**claim, "ExternalProvisioning", &note);
    Ok(Action::Done)
}

/// Takes the steps of a binding that are left.
async fn bind(
    ctx: &Ctx,
    key: &Key,
    volume: &Arc<PersistentVolume>,
    claim: &Arc<PersistentVolumeClaim>,
) -> Result<Action, Error> {
    let mut volume = owned(volume);
    if let Some(new) = held_for(&volume, claim) {
        volume = ctx.update(key, &new).await?;
    }
    volume = show(ctx, key, volume, "Bound", None).await?;
    let mut claim = owned(claim);
    if let Some(new) = named(&claim, &volume) {
        claim = ctx.update(key, &new).await?;
    }
    let spec = volume.spec.clone().unwrap_or_default();
    let status = claim.status.get_or_insert_default();
    let same = status.phase.as_deref() == Some("Bound")
        && status.access_modes == spec.access_modes
        && status.capacity.is_some();
    if !same {
        status.phase = Some("Bound".into());
        status.access_modes = spec.access_modes;
        status.capacity = spec.capacity;
        ctx.update_status(key, &claim).await?;
    }
    Ok(Action::Done)
}

/// The volume with a complete reference to the claim, if it lacks one.
fn held_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let held = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    if held.is_some_and(|held| held.uid.is_some() && held.uid == claim.metadata.uid) {
        return None;
    }
    let mut new = volume.clone();
    if held.is_none() {
        let annotations = new.metadata.annotations.get_or_insert_default();
        annotations.insert(BY_CONTROLLER.into(), "yes".into());
    }
    new.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    });
    Some(new)
}

/// The claim with the name of its volume, if it lacks that.
fn named(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<PersistentVolumeClaim> {
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let unnamed = name.is_none_or(str::is_empty);
    if !unnamed && is_bound(claim) {
        return None;
    }
    let mut new = claim.clone();
    let annotations = new.metadata.annotations.get_or_insert_default();
    if unnamed {
        annotations.insert(BY_CONTROLLER.into(), "yes".into());
    }
    annotations.insert(COMPLETE.into(), "yes".into());
    new.spec.get_or_insert_default().volume_name.clone_from(&volume.metadata.name);
    Some(new)
}

/// Shows a volume's phase.
async fn show(
    ctx: &Ctx,
    key: &Key,
    mut volume: PersistentVolume,
    phase: &str,
    message: Option<String>,
) -> Result<PersistentVolume, Error> {
    let status = volume.status.get_or_insert_default();
    if status.phase.as_deref() == Some(phase) && status.message == message {
        return Ok(volume);
    }
    status.phase = Some(phase.into());
    status.message = message;
    status.last_phase_transition_time = Some(Time(ctx.now()));
    ctx.update_status(key, &volume).await
}

/// What a volume's phase is to be.
#[derive(Debug, PartialEq)]
enum Phase {
    Available,
    Bound,
    Released,
    /// The claim is to be looked at first.
    Wait,
}

/// Judges a volume. `claim` is the object that the volume's reference names, if there is one.
fn phase(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Phase {
    let Some(held) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Phase::Available;
    };
    let Some(uid) = held.uid.as_deref().filter(|uid| !uid.is_empty()) else {
        return Phase::Available;
    };
    match claim.filter(|claim| claim.metadata.uid.as_deref() == Some(uid)) {
        None => Phase::Released,
        Some(claim) => {
            let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref());
            if named == volume.metadata.name.as_ref() { Phase::Bound } else { Phase::Wait }
        }
    }
}

async fn volume(ctx: &Ctx, key: &Key) -> Result<Action, Error> {
    let Some(volume) = ctx.cache::<PersistentVolume>().get("", &key.name) else {
        return Ok(Action::Done);
    };
    let held = volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone()).unwrap_or_default();
    let at = (held.namespace.unwrap_or_default(), held.name.unwrap_or_default());
    let mut claim = ctx.cache::<PersistentVolumeClaim>().get(&at.0, &at.1);
    if claim.is_none() && held.uid.is_some() {
        // Only the API server knows for certain that a claim is gone.
        let live = ctx.client.find::<PersistentVolumeClaim>(&at.0, &at.1).await;
        claim = live.doing("look at the claim")?.map(Arc::new);
    }
    match phase(&volume, claim.as_deref()) {
        Phase::Wait => {}
        Phase::Available => {
            show(ctx, key, owned(&volume), "Available", None).await?;
        }
        Phase::Bound => {
            show(ctx, key, owned(&volume), "Bound", None).await?;
        }
        Phase::Released => release(ctx, key, &volume).await?,
    }
    Ok(Action::Done)
}

/// The claim is gone: what happens to the volume is its reclaim policy's matter.
async fn release(ctx: &Ctx, key: &Key, volume: &Arc<PersistentVolume>) -> Result<(), Error> {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Failed") {
        return Ok(());
    }
    let shown = show(ctx, key, owned(volume), "Released", None).await?;
    let spec = shown.spec.clone().unwrap_or_default();
    let policy = spec.persistent_volume_reclaim_policy.as_deref();
    if policy == Some("Delete") && spec.csi.is_none() {
        let name = shown.metadata.name.clone().unwrap_or_default();
        let note = format!(
            "error getting deleter volume plugin for volume \"{name}\": no deletable volume \
             plugin matched"
        );
        let failed = show(ctx, key, shown, "Failed", Some(note.clone())).await?;
        ctx.warning(&failed, "VolumeFailedDelete", &note);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::{Value, json};

    fn volume(claim: Value) -> PersistentVolume {
        object(json!({"metadata": {"name": "v"}, "spec": {"claimRef": claim}}))
    }

    fn claim(uid: &str, volume: &str) -> PersistentVolumeClaim {
        object(json!({"metadata": {"name": "a", "namespace": "ns", "uid": uid},
            "spec": {"volumeName": volume}}))
    }

    #[test]
    fn a_volumes_phase_follows_its_claim() {
        let held = json!({"name": "a", "namespace": "ns", "uid": "u"});
        assert_eq!(phase(&volume(Value::Null), None), Phase::Available);
        assert_eq!(phase(&volume(json!({"name": "a"})), None), Phase::Available);
        assert_eq!(phase(&volume(held.clone()), None), Phase::Released);
        assert_eq!(phase(&volume(held.clone()), Some(&claim("other", "v"))), Phase::Released);
        assert_eq!(phase(&volume(held.clone()), Some(&claim("u", ""))), Phase::Wait);
        assert_eq!(phase(&volume(held), Some(&claim("u", "v"))), Phase::Bound);
    }

    #[test]
    fn what_was_chosen_here_is_annotated() {
        let new = held_for(&volume(Value::Null), &claim("u", "")).expect("changed");
        assert!(new.metadata.annotations.expect("one").contains_key(BY_CONTROLLER));
        let mine = named(&claim("u", ""), &volume(Value::Null)).expect("changed");
        assert_eq!(mine.metadata.annotations.expect("two").len(), 2);
        let users = named(&claim("u", "v"), &volume(Value::Null)).expect("changed");
        assert_eq!(users.metadata.annotations.expect("one").len(), 1);
    }
}
