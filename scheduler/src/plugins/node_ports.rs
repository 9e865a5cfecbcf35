//! Two Pods can't have the same port of one host.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
};

/// See the file's head.
pub struct NodePorts;

/// Whether any Pod of the node has a port that the Pod wants.
fn conflicts(pod: &PodInfo, node: &NodeInfo) -> bool {
    let taken = node.pods.iter().flat_map(|one| &one.ports);
    taken.into_iter().any(|taken| pod.ports.iter().any(|wanted| wanted.conflicts(taken)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _view: &View<'a>) -> PreFilter<'a> {
        if pod.ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(|node: &NodeInfo| {
            if conflicts(pod, node) {
                let reason = "node(s) didn't have free ports for the requested pod ports";
                Verdict::unschedulable(reason)
            } else {
                Verdict::Pass
            }
        }))
    }

    fn listens(&self, event: &Event) -> bool {
        matches!(event, Event::NodeAdded(_) | Event::PodGone(_))
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        match event {
            Event::NodeAdded(node) => !conflicts(pod, node),
            Event::PodGone(gone) => {
                let freed = |wanted: &crate::pod_info::HostPort| {
                    gone.ports.iter().any(|port| port.conflicts(wanted))
                };
                pod.ports.iter().any(freed)
            }
            _ => false,
        }
    }
}
