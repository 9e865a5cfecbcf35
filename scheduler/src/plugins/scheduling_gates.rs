//! Holds Pods back that still have scheduling gates, so that their authors decide when they may be
//! placed.

use crate::{event::Event, framework::Plugin, pod_info::PodInfo};

/// See the file's head.
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn holds_back(&self, pod: &PodInfo) -> bool {
        let gates = pod.pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
        gates.is_some_and(|gates| !gates.is_empty())
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        matches!(event, Event::SelfChanged { .. }) && !self.holds_back(pod)
    }
}
