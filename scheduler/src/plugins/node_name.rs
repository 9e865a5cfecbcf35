//! A Pod that names its node runs there and nowhere else.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
};

/// See the file's head.
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _view: &View<'a>) -> PreFilter<'a> {
        let Some(wanted) = pod.node_name() else { return PreFilter::Skip };
        PreFilter::Check(Box::new(move |node: &NodeInfo| {
            if node.name == wanted {
                Verdict::Pass
            } else {
                Verdict::unresolvable("node(s) didn't match the requested node name")
            }
        }))
    }

    fn listens(&self, event: &Event) -> bool {
        event.node().is_some() || matches!(event, Event::SelfChanged { .. })
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        event.node().is_some_and(|node| pod.node_name() == Some(node.name.as_str()))
    }
}
