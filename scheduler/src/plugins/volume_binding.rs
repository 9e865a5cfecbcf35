//! A Pod's claims must be bound, or bindable on the node: to a volume that is there, or to one that
//! is made for it.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
    volumes::{Claims, Plan, SELECTED_NODE, annotation, class_of, reachable, suitable},
};
use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};

/// The provisioner of classes whose volumes people make.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// No volume suits, and none can be made.
const NOTHING: &str = "node(s) didn't find available persistent volumes to bind";

/// See the file's head.
pub struct VolumeBinding;

/// What would have to be written to use a node.
fn look(claims: &Claims, view: &View, node: &NodeInfo) -> Result<Plan, Verdict> {
    for (_, volume) in &claims.bound {
        let Some(volume) = volume else {
            let reason =
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
            return Err(Verdict::unresolvable(reason));
        };
        if !reachable(volume, node) {
            let reason = "node(s) didn't match PersistentVolume's node affinity";
            return Err(Verdict::unresolvable(reason));
        }
    }
    let mut plan = Plan::default();
    for claim in &claims.waiting {
        let selected = annotation(claim, SELECTED_NODE);
        if selected.is_some_and(|selected| selected != node.name) {
            return Err(Verdict::unresolvable(NOTHING));
        }
        let found = || {
            let key = key(claim);
            let taken = |name: &str| {
                let promised = view.promised.get(name).is_some_and(|other| *other != key);
                promised
                    || plan.bind.iter().any(|(one, _)| one.metadata.name.as_deref() == Some(name))
            };
            suitable(claim, node, view.volumes, &taken)
        };
        match selected.is_none().then(found).flatten() {
            Some(volume) => plan.bind.push((volume, claim.clone())),
            None if provisionable(claim, view, node) => plan.provision.push(claim.clone()),
            None => return Err(Verdict::unresolvable(NOTHING)),
        }
    }
    Ok(plan)
}

/// `namespace/name` of a claim.
pub fn key(claim: &PersistentVolumeClaim) -> String {
    let meta = &claim.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default())
}

/// Whether the claim's class can make a volume for a node.
fn provisionable(claim: &PersistentVolumeClaim, view: &View, node: &NodeInfo) -> bool {
    view.volumes.class(class_of(claim)).is_some_and(|class| {
        !class.provisioner.is_empty()
            && class.provisioner != NO_PROVISIONER
            && allowed(&class, node)
    })
}

/// Whether a class makes volumes for a node.
fn allowed(class: &StorageClass, node: &NodeInfo) -> bool {
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    terms.is_empty()
        || terms.iter().any(|term| {
            let mut labels = term.match_label_expressions.iter().flatten();
            labels.all(|one| {
                node.label(&one.key).is_some_and(|value| one.values.iter().any(|v| v == value))
            })
        })
}

/// What has to be written to use the node that was chosen.
pub fn plan(pod: &PodInfo, view: &View, node: &NodeInfo) -> Option<Plan> {
    if pod.claims.is_empty() {
        return Some(Plan::default());
    }
    let claims = Claims::look_up(pod, view.volumes).ok()?;
    look(&claims, view, node).ok()
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, view: &View<'a>) -> PreFilter<'a> {
        if pod.claims.is_empty() {
            return PreFilter::Skip;
        }
        let claims = match Claims::look_up(pod, view.volumes) {
            Ok(claims) => claims,
            Err(why) => return PreFilter::Reject(Verdict::Unresolvable(vec![why.into()])),
        };
        let view = view.clone();
        PreFilter::Check(Box::new(move |node: &NodeInfo| match look(&claims, &view, node) {
            Ok(_) => Verdict::Pass,
            Err(verdict) => verdict,
        }))
    }

    fn wakes(&self, event: &Event, _pod: &PodInfo) -> bool {
        matches!(event, Event::StorageChanged) || event.moves_topology()
    }
}
