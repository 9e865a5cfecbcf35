//! Which volume suits a claim.

use crate::selector::Selector;
use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use std::sync::Arc;

/// The class of a claim; empty when it wants none. `None` when it leaves that open.
pub(super) fn class(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref()
}

/// What a claim asks for.
fn asked(claim: &PersistentVolumeClaim) -> Quantity {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let text = requests.and_then(|requests| requests.get("storage"));
    text.and_then(|text| text.0.parse().ok()).unwrap_or_default()
}

/// How much a volume holds.
fn capacity(volume: &PersistentVolume) -> Quantity {
    let list = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    let text = list.and_then(|list| list.get("storage"));
    text.and_then(|text| text.0.parse().ok()).unwrap_or_default()
}

/// Whether a volume is held for a claim, or bound to it.
pub(super) fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(held) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return false;
    };
    let same = held.name == claim.metadata.name && held.namespace == claim.metadata.namespace;
    let uid = held.uid.as_deref().filter(|uid| !uid.is_empty());
    same && uid.is_none_or(|uid| claim.metadata.uid.as_deref() == Some(uid))
}

/// Why a volume does not suit a claim that names it, or is held for it.
pub(super) fn mismatch(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<&'static str> {
    let spec = volume.spec.clone().unwrap_or_default();
    let wanted = claim.spec.clone().unwrap_or_default();
    let mode = |mode: Option<String>| mode.unwrap_or_else(|| "Filesystem".into());
    if asked(claim) > capacity(volume) {
        return Some("requested PV is too small");
    }
    if spec.storage_class_name.unwrap_or_default() != class(claim).unwrap_or_default() {
        return Some("storageClassName does not match");
    }
    if spec.volume_attributes_class_name.unwrap_or_default()
        != wanted.volume_attributes_class_name.unwrap_or_default()
    {
        return Some("volumeAttributesClassName does not match");
    }
    if mode(spec.volume_mode) != mode(wanted.volume_mode) {
        return Some("incompatible volumeMode");
    }
    let modes = spec.access_modes.unwrap_or_default();
    if !wanted.access_modes.iter().flatten().all(|mode| modes.contains(mode)) {
        return Some("incompatible accessMode");
    }
    None
}

/// The volume to bind a claim to: one that is held for it, or the smallest free one that suits.
pub(super) fn best(
    claim: &PersistentVolumeClaim,
    all: &[Arc<PersistentVolume>],
) -> Option<Arc<PersistentVolume>> {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selects = |volume: &PersistentVolume| {
        selector.is_none_or(|selector| {
            Selector::compile(Some(selector)).matches(volume.metadata.labels.as_ref())
        })
    };
    let suiting = all.iter().filter(|volume| {
        volume.metadata.deletion_timestamp.is_none() && mismatch(volume, claim).is_none()
    });
    let (held, free): (Vec<_>, Vec<_>) = suiting.partition(|volume| is_for(volume, claim));
    if let Some(held) = held.first() {
        return Some(Arc::clone(held));
    }
    let free = free.into_iter().filter(|volume| {
        let taken = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        !taken && phase == Some("Available") && selects(volume)
    });
    free.min_by(|one, two| {
        capacity(one).cmp(&capacity(two)).then_with(|| one.metadata.name.cmp(&two.metadata.name))
    })
    .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{merge, object};
    use serde_json::{Value, json};

    fn volume(name: &str, size: &str, over: Value) -> Arc<PersistentVolume> {
        let mut value = json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"], "storageClassName": "c"},
            "status": {"phase": "Available"}});
        merge(&mut value, over);
        Arc::new(object(value))
    }

    fn claim(over: Value) -> PersistentVolumeClaim {
        let mut value = json!({"metadata": {"name": "a", "namespace": "ns", "uid": "u"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "c",
            "resources": {"requests": {"storage": "2Gi"}}}});
        merge(&mut value["spec"], over);
        object(value)
    }

    fn name(found: Option<Arc<PersistentVolume>>) -> Option<String> {
        found?.metadata.name.clone()
    }

    #[test]
    fn the_smallest_that_suits_is_taken_but_one_that_is_held_comes_first() {
        let mut all = vec![
            volume("large", "10Gi", json!({})),
            volume("fitting", "5Gi", json!({})),
            volume("small", "1Gi", json!({})),
            volume("other", "2Gi", json!({"spec": {"storageClassName": "x"}})),
        ];
        assert_eq!(name(best(&claim(json!({})), &all)).as_deref(), Some("fitting"));
        let held = json!({"spec": {"claimRef": {"name": "a", "namespace": "ns"}}});
        all.push(volume("held", "20Gi", held));
        assert_eq!(name(best(&claim(json!({})), &all)).as_deref(), Some("held"));
    }

    #[test]
    fn modes_labels_and_foreign_claims_exclude() {
        let all = [
            volume("block", "5Gi", json!({"spec": {"volumeMode": "Block"}})),
            volume("taken", "5Gi", json!({"spec": {"claimRef": {"name": "b"}}})),
        ];
        assert_eq!(name(best(&claim(json!({})), &all)), None);
        let chosen = claim(json!({"selector": {"matchLabels": {"t": "y"}}}));
        let labelled = volume("y", "5Gi", json!({"metadata": {"labels": {"t": "y"}}}));
        assert_eq!(name(best(&chosen, &[labelled])).as_deref(), Some("y"));
        let many = claim(json!({"accessModes": ["ReadWriteMany"]}));
        let reason = mismatch(&volume("v", "5Gi", json!({})), &many);
        assert_eq!(reason, Some("incompatible accessMode"));
    }
}
