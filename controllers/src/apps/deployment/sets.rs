//! What a Deployment reads from and writes into its ReplicaSets: sizes, revisions and the
//! annotations about them.

use crate::{
    ctx::controller_of,
    hash,
    intstr::{self, Round},
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::collections::BTreeMap;

/// Number of the rollout that a ReplicaSet came from last.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Numbers that it had before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the ReplicaSet was last sized.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same plus the surge.
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
/// Label that tells ReplicaSets of one Deployment apart.
pub(crate) const HASH: &str = "pod-template-hash";
/// Longest list of earlier revisions, in characters.
const HISTORY_LENGTH: usize = 2000;
/// The Deployment's annotations that are about itself only.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// Wanted Pods of a ReplicaSet.
pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Available Pods of a ReplicaSet.
pub(crate) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// Wanted Pods of a Deployment.
pub(crate) fn wanted(spec: &DeploymentSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Revision of a ReplicaSet; 0 when it has none.
pub(crate) fn revision(set: &ReplicaSet) -> i64 {
    annotation(set, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The Deployment's replicas when the ReplicaSet was last sized.
pub(crate) fn desired(set: &ReplicaSet) -> Option<i32> {
    annotation(set, DESIRED)?.parse().ok()
}

/// The most Pods that were allowed when the ReplicaSet was last sized.
pub(crate) fn maximum(set: &ReplicaSet) -> Option<i32> {
    annotation(set, MAXIMUM)?.parse().ok()
}

/// Rolling updates are the default strategy.
pub(crate) fn is_rolling(spec: &DeploymentSpec) -> bool {
    let kind = spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    kind != Some("Recreate")
}

/// How many Pods may be there above, and missing below, the wanted number. Never both zero: nothing
/// could move.
pub(crate) fn surge_and_unavailable(spec: &DeploymentSpec) -> (i32, i32) {
    if !is_rolling(spec) {
        return (0, 0);
    }
    let total = wanted(spec);
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let missing = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let quarter = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String("25%".into());
    let surge = intstr::scaled(surge.unwrap_or(&quarter), total, Round::Up);
    let missing = intstr::scaled(missing.unwrap_or(&quarter), total, Round::Down);
    if surge == 0 && missing == 0 { (0, 1) } else { (surge, missing) }
}

/// How many Pods may be missing, never more than there should be.
pub(crate) fn max_unavailable(spec: &DeploymentSpec) -> i32 {
    if is_rolling(spec) && wanted(spec) > 0 {
        surge_and_unavailable(spec).1.min(wanted(spec))
    } else {
        0
    }
}

/// A template without the label that the Deployment adds.
fn bare(template: Option<&PodTemplateSpec>) -> PodTemplateSpec {
    let mut bare = template.cloned().unwrap_or_default();
    let mut meta = bare.metadata.take().unwrap_or_default();
    let mut labels = meta.labels.take().unwrap_or_default();
    labels.remove(HASH);
    meta.labels = (!labels.is_empty()).then_some(labels);
    bare.metadata = (meta != ObjectMeta::default()).then_some(meta);
    bare
}

/// Whether a ReplicaSet makes the Pods that this template describes.
pub(crate) fn same_template(set: &ReplicaSet, template: Option<&PodTemplateSpec>) -> bool {
    bare(set.spec.template.as_ref()) == bare(template)
}

/// Writes the sizes into the annotations; whether that changed anything.
pub(crate) fn annotate_sizes(set: &mut ReplicaSet, spec: &DeploymentSpec) -> bool {
    let wanted = wanted(spec);
    let most = wanted + surge_and_unavailable(spec).0;
    let annotations = set.metadata.annotations.get_or_insert_default();
    let one = put(annotations, DESIRED, wanted.to_string());
    let two = put(annotations, MAXIMUM, most.to_string());
    one || two
}

fn put(map: &mut BTreeMap<String, String>, name: &str, value: String) -> bool {
    let changed = map.get(name) != Some(&value);
    if changed {
        map.insert(name.into(), value);
    }
    changed
}

/// Copies the Deployment's annotations and notes the revision; whether that changed anything.
pub(crate) fn annotate(set: &mut ReplicaSet, deployment: &Deployment, revision: i64) -> bool {
    let before = self::revision(set);
    let had_one = annotation(set, REVISION).is_some();
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&name.as_str()) {
            changed |= put(annotations, name, value.clone());
        }
    }
    if before < revision {
        put(annotations, REVISION, revision.to_string());
        changed = true;
        if had_one {
            let history = annotations.get(HISTORY).cloned().unwrap_or_default();
            let mut all: Vec<&str> = history.split(',').filter(|one| !one.is_empty()).collect();
            let newest = before.to_string();
            all.push(&newest);
            while all.len() > 1 && all.join(",").len() > HISTORY_LENGTH {
                all.remove(0);
            }
            let joined = all.join(",");
            annotations.insert(HISTORY.into(), joined);
        }
    }
    changed
}

/// The ReplicaSet of the Deployment's template.
pub(crate) fn make(deployment: &Deployment, revision: i64, replicas: i32) -> ReplicaSet {
    let spec = deployment.spec.clone();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let mut template = spec.template.clone();
    let hash = hash::of(&template, collisions);
    let mut meta = template.metadata.take().unwrap_or_default();
    meta.labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    let labels = meta.labels.clone();
    template.metadata = Some(meta);
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            owner_references: Some(vec![controller_of(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    };
    annotate(&mut set, deployment, revision);
    annotate_sizes(&mut set, &spec);
    set
}
