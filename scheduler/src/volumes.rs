//! Claims and volumes as the scheduler sees them, and what has to be written so that a Pod's claims
//! are bound on the node that was chosen for it.

use crate::{node_info::NodeInfo, pod_info::PodInfo, resources::whole, selector::NodeTerm};
use client::{Informer, Informers};
use k8s_openapi::api::{
    core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSINode, StorageClass},
};
use std::{collections::HashMap, sync::Arc};
use stdx::Shutdown;

/// Annotation of claims whose binding is complete.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Annotation that tells provisioners for which node a volume is wanted.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Annotation of claims that name their class in the old way.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Knows claims, volumes and classes.
pub trait Volumes: Send + Sync {
    /// A claim.
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>>;
    /// A volume.
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    /// All volumes of a class.
    fn of_class(&self, class: &str) -> Vec<Arc<PersistentVolume>>;
    /// A class.
    fn class(&self, name: &str) -> Option<Arc<StorageClass>>;
    /// The storage drivers of a node.
    fn drivers(&self, node: &str) -> Option<Arc<CSINode>>;
}

/// Volumes that are promised to claims, and not yet seen bound: by volume, the claim.
pub type Promised = HashMap<String, String>;

/// Reads them from informers.
pub struct FromInformers {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    drivers: Informer<CSINode>,
}

impl FromInformers {
    /// Asks for the informers it needs.
    pub fn new(informers: &Informers) -> Self {
        let volumes: Informer<PersistentVolume> = informers.of();
        volumes.index("class", |volume| vec![class_of_volume(volume).to_owned()]);
        Self { claims: informers.of(), volumes, classes: informers.of(), drivers: informers.of() }
    }

    /// Waits until all are filled.
    pub async fn synced(&self) {
        self.claims.synced().await;
        self.volumes.synced().await;
        self.classes.synced().await;
        self.drivers.synced().await;
    }

    /// Calls `f` whenever any of them changes.
    pub fn on_change(&self, shutdown: &Shutdown, f: impl Fn() + Clone + Send + Sync + 'static) {
        let (one, two, three, four) = (f.clone(), f.clone(), f.clone(), f);
        self.claims.on_event_until(shutdown, move |_| one());
        self.volumes.on_event_until(shutdown, move |_| two());
        self.classes.on_event_until(shutdown, move |_| three());
        self.drivers.on_event_until(shutdown, move |_| four());
    }
}

impl Volumes for FromInformers {
    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(namespace, name)
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get("", name)
    }

    fn of_class(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        self.volumes.by_index("class", class)
    }

    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.get("", name)
    }

    fn drivers(&self, node: &str) -> Option<Arc<CSINode>> {
        self.drivers.get("", node)
    }
}

/// What has to be written before a Pod can be bound.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Volumes for claims.
    pub bind: Vec<(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)>,
    /// Claims whose volumes are to be provisioned for the node.
    pub provision: Vec<Arc<PersistentVolumeClaim>>,
}

impl Plan {
    /// Whether nothing has to be written.
    pub fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty()
    }

    /// The claims that it binds.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<PersistentVolumeClaim>> {
        self.bind.iter().map(|(_, claim)| claim).chain(&self.provision)
    }
}

/// A Pod's claims by what they need.
#[derive(Default)]
pub struct Claims {
    /// Bound, with their volumes; `None` for a volume that isn't there.
    pub bound: Vec<(Arc<PersistentVolumeClaim>, Option<Arc<PersistentVolume>>)>,
    /// To be bound for the node that is chosen; the smallest first.
    pub waiting: Vec<Arc<PersistentVolumeClaim>>,
}

impl Claims {
    /// Looks all claims of a Pod up; `Err` says why the Pod can't be placed at all.
    pub fn look_up(pod: &PodInfo, volumes: &dyn Volumes) -> Result<Self, String> {
        let mut all = Self::default();
        let mut immediate = false;
        for wanted in &pod.claims {
            let name = &wanted.name;
            let Some(claim) = volumes.claim(&pod.namespace, name) else {
                return Err(if wanted.ephemeral {
                    format!(
                        "waiting for ephemeral volume controller to create the \
                         persistentvolumeclaim {name:?}"
                    )
                } else {
                    format!("persistentvolumeclaim {name:?} not found")
                });
            };
            usable(pod, &claim, wanted.ephemeral)?;
            if is_bound(&claim) {
                let volume = volumes.volume(volume_name(&claim));
                all.bound.push((claim, volume));
            } else if waits_for_node(&claim, volumes) && volume_name(&claim).is_empty() {
                all.waiting.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Err("pod has unbound immediate PersistentVolumeClaims".into());
        }
        all.waiting.sort_by_key(|claim| wanted_size(claim));
        Ok(all)
    }
}

/// Whether a claim can serve a Pod at all.
fn usable(pod: &PodInfo, claim: &PersistentVolumeClaim, ephemeral: bool) -> Result<(), String> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let owners = claim.metadata.owner_references.iter().flatten();
    if ephemeral && !owners.into_iter().any(|owner| owner.uid == pod.uid) {
        let space = &pod.namespace;
        return Err(format!(
            "PVC {space}/{name} was not created for pod {space}/{} (pod is not owner)",
            pod.name
        ));
    }
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
        let volume = volume_name(claim);
        return Err(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        ));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    Ok(())
}

/// The volume that a claim names; empty for none.
pub fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref();
    spec.and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

/// Whether a claim is bound, from its own side.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotation(claim, BIND_COMPLETED).is_some()
}

/// An annotation of a claim.
pub fn annotation<'a>(claim: &'a PersistentVolumeClaim, name: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The class of a claim; empty for none.
pub fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(claim, OLD_CLASS).or(named).unwrap_or_default()
}

/// The class of a volume; empty for none.
fn class_of_volume(volume: &PersistentVolume) -> &str {
    let old = volume.metadata.annotations.as_ref().and_then(|all| all.get(OLD_CLASS));
    let named = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    old.or(named).map(String::as_str).unwrap_or_default()
}

/// Whether a claim's class binds only once a node is known.
pub fn waits_for_node(claim: &PersistentVolumeClaim, volumes: &dyn Volumes) -> bool {
    volumes
        .class(class_of(claim))
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// How many bytes a claim wants.
fn wanted_size(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")).map_or(0, whole)
}

/// Whether a node is one that a volume can be used on.
pub fn reachable(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required: Option<&NodeSelector> = affinity.and_then(|one| one.required.as_ref());
    required.is_none_or(|selector| {
        let mut terms = selector.node_selector_terms.iter().map(NodeTerm::compile);
        terms.any(|term| term.matches(node.object()))
    })
}

/// The smallest volume that suits a claim on a node, other than those that are taken.
pub fn suitable(
    claim: &PersistentVolumeClaim,
    node: &NodeInfo,
    volumes: &dyn Volumes,
    taken: &dyn Fn(&str) -> bool,
) -> Option<Arc<PersistentVolume>> {
    let all = volumes.of_class(class_of(claim));
    let suits = |volume: &&Arc<PersistentVolume>| {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        !taken(name) && fits(claim, volume) && reachable(volume, node)
    };
    let promised = |volume: &Arc<PersistentVolume>| claimed_by(volume, claim) == Some(true);
    let candidates = || all.iter().filter(suits);
    let own = candidates().find(|volume| promised(volume));
    own.or_else(|| candidates().min_by_key(|volume| size(volume))).cloned()
}

/// Whether a volume is reserved for this claim (`true`) or another one; `None` when it is free.
fn claimed_by(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<bool> {
    let by = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let meta = &claim.metadata;
    let same_uid = by.uid.as_deref().is_none_or(str::is_empty) || by.uid == meta.uid;
    Some(by.name == meta.name && by.namespace == meta.namespace && same_uid)
}

fn size(volume: &PersistentVolume) -> i64 {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity.and_then(|capacity| capacity.get("storage")).map_or(0, whole)
}

/// Whether a volume is free and has what a claim wants, wherever it is.
fn fits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let (Some(wanted), Some(spec)) = (&claim.spec, &volume.spec) else { return false };
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let free = match claimed_by(volume, claim) {
        Some(own) => own,
        None => phase == Some("Available"),
    };
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".into());
    let modes: Vec<&String> = spec.access_modes.iter().flatten().collect();
    let mut wanted_modes = wanted.access_modes.iter().flatten();
    let selected = wanted.selector.as_ref().is_none_or(|selector| {
        crate::selector::Selector::compile(Some(selector)).matches(volume.metadata.labels.as_ref())
    });
    free && selected
        && volume.metadata.deletion_timestamp.is_none()
        && mode(&wanted.volume_mode) == mode(&spec.volume_mode)
        && wanted_modes.all(|mode| modes.contains(&mode))
        && size(volume) >= wanted_size(claim)
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
