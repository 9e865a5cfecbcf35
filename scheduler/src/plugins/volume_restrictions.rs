//! A claim that only one Pod may use is used by one Pod only.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
};
use std::collections::HashSet;

/// The access mode of such claims.
const ONE_POD: &str = "ReadWriteOncePod";

/// See the file's head.
pub struct VolumeRestrictions;

/// The names of the Pod's claims that nobody else may use.
fn exclusive<'a>(pod: &'a PodInfo, view: &View) -> HashSet<&'a str> {
    let names = pod.claims.iter().map(|claim| claim.name.as_str());
    names
        .filter(|name| {
            let claim = view.volumes.claim(&pod.namespace, name);
            claim
                .and_then(|claim| claim.spec.clone())
                .is_some_and(|spec| spec.access_modes.iter().flatten().any(|mode| mode == ONE_POD))
        })
        .collect()
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, view: &View<'a>) -> PreFilter<'a> {
        if pod.claims.is_empty() {
            return PreFilter::Skip;
        }
        let names = exclusive(pod, view);
        if names.is_empty() {
            return PreFilter::Skip;
        }
        let uses = |other: &PodInfo| {
            other.namespace == pod.namespace
                && other.claims.iter().any(|claim| names.contains(claim.name.as_str()))
        };
        if !view.nodes().any(|node| node.pods.iter().any(|other| uses(other))) {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(|_: &NodeInfo| {
            Verdict::unschedulable(
                "node has pod using PersistentVolumeClaim with the same name and \
                 ReadWriteOncePod access mode",
            )
        }))
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        match event {
            Event::StorageChanged => true,
            Event::PodGone(gone) => {
                let shared = |claim: &crate::pod_info::Claim| pod.claims.contains(claim);
                gone.namespace == pod.namespace && gone.claims.iter().any(shared)
            }
            _ => false,
        }
    }
}
