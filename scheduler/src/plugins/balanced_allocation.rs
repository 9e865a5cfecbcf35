//! Prefers nodes on which cpu and memory would be used to the same degree, so that neither is left
//! stranded.

use crate::{
    event::Event,
    framework::{MAX_SCORE, Plugin, Scorer, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
};

/// See the file's head.
pub struct BalancedAllocation;

/// Rates the evenness of use.
struct Evenness<'a> {
    pod: &'a PodInfo,
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        _view: &View<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        let best_effort = pod.requests.milli_cpu == 0 && pod.requests.memory == 0;
        (!best_effort).then(|| Box::new(Evenness { pod }) as Box<dyn Scorer>)
    }

    fn wakes(&self, _event: &Event, _pod: &PodInfo) -> bool {
        false
    }
}

impl Scorer for Evenness<'_> {
    #[expect(clippy::cast_precision_loss, reason = "a score needs no more than 52 bits")]
    #[expect(clippy::cast_possible_truncation, reason = "the result is between 0 and 100")]
    fn score(&self, node: &NodeInfo) -> i64 {
        let part = |wanted: i64, all: i64| (all > 0).then(|| (wanted as f64 / all as f64).min(1.0));
        let (used, all, asked) = (&node.requested, &node.allocatable, &self.pod.requests);
        let cpu = part(used.milli_cpu + asked.milli_cpu, all.milli_cpu);
        let memory = part(used.memory + asked.memory, all.memory);
        let deviation = match (cpu, memory) {
            (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
            _ => 0.0,
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}
