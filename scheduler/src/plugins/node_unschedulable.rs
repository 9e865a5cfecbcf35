//! Keeps Pods off cordoned nodes, unless they tolerate that.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
    selector::tolerates,
};
use k8s_openapi::api::core::v1::Taint;

/// The taint that stands for `spec.unschedulable`.
const TAINT: &str = "node.kubernetes.io/unschedulable";

/// See the file's head.
pub struct NodeUnschedulable;

/// Whether the Pod may run on cordoned nodes.
fn tolerated(pod: &PodInfo) -> bool {
    let taint = Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
    pod.tolerations.iter().any(|toleration| tolerates(toleration, &taint))
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _view: &View<'a>) -> PreFilter<'a> {
        if tolerated(pod) {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(|node: &NodeInfo| {
            if node.cordoned {
                Verdict::unresolvable("node(s) were unschedulable")
            } else {
                Verdict::Pass
            }
        }))
    }

    fn listens(&self, event: &Event) -> bool {
        event.node().is_some() || matches!(event, Event::SelfChanged { .. })
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        match event {
            Event::SelfChanged { .. } => tolerated(pod),
            _ => event.node().is_some_and(|node| !node.cordoned),
        }
    }
}
