//! A storage driver can attach only so many volumes to a node.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
    volumes::{Volumes, class_of, volume_name},
};
use std::collections::HashSet;

/// See the file's head.
pub struct NodeVolumeLimits;

/// A volume of a driver: the driver, and what tells its volumes apart.
type Attached = (String, String);

/// The volumes of storage drivers that a Pod uses.
fn volumes_of(pod: &PodInfo, volumes: &dyn Volumes) -> HashSet<Attached> {
    let of_claim = |name: &str| {
        let claim = volumes.claim(&pod.namespace, name)?;
        if let Some(volume) = volumes.volume(volume_name(&claim)) {
            let csi = volume.spec.as_ref()?.csi.as_ref()?;
            return Some((csi.driver.clone(), csi.volume_handle.clone()));
        }
        // To be provisioned: one volume, whatever it will be called.
        let class = volumes.class(class_of(&claim))?;
        Some((class.provisioner.clone(), format!("{}/{name}", pod.namespace)))
    };
    pod.claims.iter().filter_map(|claim| of_claim(&claim.name)).collect()
}

/// Whether a node can take more volumes.
fn fits(wanted: &HashSet<Attached>, view: &View, node: &NodeInfo) -> bool {
    let Some(known) = view.volumes.drivers(&node.name) else { return true };
    let with_claims = node.pods.iter().filter(|pod| !pod.claims.is_empty());
    let used: HashSet<Attached> =
        with_claims.flat_map(|pod| volumes_of(pod, view.volumes)).collect();
    known.spec.drivers.iter().all(|driver| {
        let count = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count);
        let Some(limit) = count.and_then(|count| usize::try_from(count).ok()) else { return true };
        let mine = |one: &&Attached| one.0 == driver.name;
        let new = wanted.iter().filter(mine).filter(|one| !used.contains(*one)).count();
        new == 0 || used.iter().filter(mine).count() + new <= limit
    })
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, view: &View<'a>) -> PreFilter<'a> {
        if pod.claims.is_empty() {
            return PreFilter::Skip;
        }
        let wanted = volumes_of(pod, view.volumes);
        if wanted.is_empty() {
            return PreFilter::Skip;
        }
        let view = view.clone();
        PreFilter::Check(Box::new(move |node: &NodeInfo| {
            if fits(&wanted, &view, node) {
                Verdict::Pass
            } else {
                Verdict::unschedulable("node(s) exceed max volume count")
            }
        }))
    }

    fn wakes(&self, event: &Event, _pod: &PodInfo) -> bool {
        match event {
            Event::StorageChanged => true,
            Event::PodGone(gone) => !gone.claims.is_empty(),
            _ => event.moves_topology(),
        }
    }
}
