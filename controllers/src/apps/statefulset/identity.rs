//! What a StatefulSet's Pods are called, how they are labelled, and which claims are theirs.

use super::super::history;
use crate::{ctx::controller_of, pods};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
        },
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

/// Label with a Pod's own name.
const NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Label with a Pod's ordinal.
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The set's name and the ordinal in a Pod's name.
pub(crate) fn split(name: &str) -> Option<(&str, i32)> {
    let (set, ordinal) = name.rsplit_once('-')?;
    let digits = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Some((set, ordinal.parse().ok()?)) } else { None }
}

fn name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// The Pod of an ordinal.
pub(crate) fn make(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    ordinal: i32,
    revision: &str,
) -> Pod {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = pods::from_template(template, namespace, name(set), controller_of(set));
    pod.metadata.generate_name = Some(format!("{}-", name(set)));
    pod.metadata.name = Some(format!("{}-{ordinal}", name(set)));
    identify(&mut pod);
    pod.metadata.labels.get_or_insert_default().insert(history::HASH.into(), revision.into());
    mount(set, &mut pod, ordinal);
    let spec = pod.spec.get_or_insert_default();
    spec.hostname.clone_from(&pod.metadata.name);
    spec.subdomain.clone_from(&set.spec.service_name);
    pod
}

/// Labels a Pod with its name and ordinal; whether that changed anything.
pub(crate) fn identify(pod: &mut Pod) -> bool {
    let name = pods::name(pod).to_owned();
    let Some((_, ordinal)) = split(&name) else { return false };
    let labels = pod.metadata.labels.get_or_insert_default();
    let mut changed = false;
    for (label, value) in [(NAME, name.clone()), (INDEX, ordinal.to_string())] {
        if labels.get(label) != Some(&value) {
            labels.insert(label.into(), value);
            changed = true;
        }
    }
    changed
}

/// Mounts the Pod's claims; a volume of the template with the name of a claim gives way.
fn mount(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let claims = claims(set, ordinal);
    if claims.is_empty() {
        return;
    }
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let names: Vec<String> = templates.filter_map(|one| one.metadata.name.clone()).collect();
    let spec = pod.spec.get_or_insert_default();
    let mut volumes: Vec<Volume> = names
        .iter()
        .zip(claims)
        .map(|(name, claim)| Volume {
            name: name.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.metadata.name.unwrap_or_default(),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect();
    let others = spec.volumes.take().unwrap_or_default();
    volumes.extend(others.into_iter().filter(|one| !names.contains(&one.name)));
    spec.volumes = Some(volumes);
}

/// The claims of an ordinal.
pub(crate) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let make = |template: &PersistentVolumeClaim| {
        let of = template.metadata.name.as_deref().unwrap_or_default();
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(set.spec.selector.match_labels.clone().unwrap_or_default());
        let owners = policy(set, false).then(|| vec![controller_of(set)]);
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(format!("{of}-{}-{ordinal}", name(set))),
                namespace: set.metadata.namespace.clone(),
                labels: (!labels.is_empty()).then_some(labels),
                annotations: template.metadata.annotations.clone(),
                owner_references: owners,
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    };
    templates.map(make).collect()
}

/// Whether claims go with the set (`scaled`: with a Pod that is scaled away).
fn policy(set: &StatefulSet, scaled: bool) -> bool {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let word = policy.and_then(|policy| {
        if scaled { policy.when_scaled.as_ref() } else { policy.when_deleted.as_ref() }
    });
    word.is_some_and(|word| word == "Delete")
}

/// The owners that a Pod's claim should have, given those it has.
pub(crate) fn claim_owners(
    set: &StatefulSet,
    pod: &Pod,
    condemned: bool,
    current: &[OwnerReference],
) -> Vec<OwnerReference> {
    let ours = |one: &&OwnerReference| {
        Some(&one.uid) == set.metadata.uid.as_ref() || Some(&one.uid) == pod.metadata.uid.as_ref()
    };
    let mut owners: Vec<OwnerReference> =
        current.iter().filter(|one| !ours(one)).cloned().collect();
    if condemned && policy(set, true) {
        owners.push(controller_of(pod));
    } else if policy(set, false) {
        owners.push(controller_of(set));
    }
    // The order of those that stay must not look like a change.
    let same = owners.len() == current.len() && owners.iter().all(|one| current.contains(one));
    if same { current.to_vec() } else { owners }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use serde_json::json;

    #[test]
    fn pods_have_names_labels_and_claims_of_their_ordinal() {
        let set: StatefulSet = object(json!({"metadata": {"name": "s", "namespace": "ns",
            "uid": "u"}, "spec": {"serviceName": "svc", "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}},
            "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"l": "1"}}}]}}));
        let pod = make(&set, &set.spec.template, 3, "s-hash");
        assert_eq!(pods::name(&pod), "s-3");
        let spec = pod.spec.as_ref().expect("spec");
        assert_eq!(
            (spec.hostname.as_deref(), spec.subdomain.as_deref()),
            (Some("s-3"), Some("svc"))
        );
        let labels = pod.metadata.labels.as_ref().expect("labels");
        assert_eq!(labels[NAME], "s-3");
        assert_eq!(labels[INDEX], "3");
        assert_eq!(labels[history::HASH], "s-hash");
        let claim = &claims(&set, 3)[0];
        assert_eq!(claim.metadata.name.as_deref(), Some("data-s-3"));
        assert_eq!(claim.metadata.labels.as_ref().map(std::collections::BTreeMap::len), Some(2));
        assert_eq!(spec.volumes.as_ref().expect("one")[0].name, "data");
    }

    #[test]
    fn only_numbers_are_ordinals() {
        assert_eq!(split("web-0-12"), Some(("web-0", 12)));
        assert_eq!(split("web-x"), None);
        assert_eq!(split("web"), None);
    }

    #[test]
    fn claims_follow_the_retention_policy() {
        let set: StatefulSet = object(json!({"metadata": {"name": "s", "uid": "u"}, "spec": {
            "selector": {}, "template": {}, "persistentVolumeClaimRetentionPolicy":
                {"whenDeleted": "Delete", "whenScaled": "Delete"}}}));
        let pod = crate::testing::pod("s-0", json!({}));
        let owner = |condemned| claim_owners(&set, &pod, condemned, &[])[0].kind.clone();
        assert_eq!((owner(false), owner(true)), ("StatefulSet".to_owned(), "Pod".to_owned()));
    }
}
