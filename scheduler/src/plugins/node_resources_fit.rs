//! A node must have room for what a Pod asks; of those that have, the least used are preferred.

use crate::{
    event::Event,
    framework::{MAX_SCORE, Plugin, PreFilter, Reason, Scorer, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
};
use std::borrow::Cow;

/// See the file's head.
pub struct NodeResourcesFit;

/// Compares a Pod with a node, resource by resource.
fn fit(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut hopeless = false;
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= node.allowed_pods {
        reasons.push(Cow::Borrowed("Too many pods"));
    }
    let mut compare = |wanted: i64, used: i64, all: i64, reason: &dyn Fn() -> Reason| {
        if wanted > 0 && wanted > all - used {
            reasons.push(reason());
            hopeless |= wanted > all;
        }
    };
    let (wanted, used, all) = (&pod.requests, &node.requested, &node.allocatable);
    compare(wanted.milli_cpu, used.milli_cpu, all.milli_cpu, &|| "Insufficient cpu".into());
    compare(wanted.memory, used.memory, all.memory, &|| "Insufficient memory".into());
    compare(wanted.ephemeral_storage, used.ephemeral_storage, all.ephemeral_storage, &|| {
        "Insufficient ephemeral-storage".into()
    });
    for (name, amount) in &wanted.scalars {
        let of =
            |amounts: &crate::resources::Resources| amounts.scalars.get(name).copied().unwrap_or(0);
        compare(*amount, of(used), of(all), &|| format!("Insufficient {name}").into());
    }
    match (reasons.is_empty(), hopeless) {
        (true, _) => Verdict::Pass,
        (false, true) => Verdict::Unresolvable(reasons),
        (false, false) => Verdict::Unschedulable(reasons),
    }
}

/// Whether a Pod would fit on the node if nothing else were there.
fn fits_empty(pod: &PodInfo, node: &NodeInfo) -> bool {
    let mut empty = NodeInfo { node: node.node.clone(), ..NodeInfo::named(&node.name) };
    empty.allocatable = node.allocatable.clone();
    empty.allowed_pods = node.allowed_pods;
    fit(pod, &empty) == Verdict::Pass
}

/// Rates free cpu and memory.
struct LeastAllocated<'a> {
    pod: &'a PodInfo,
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _view: &View<'a>) -> PreFilter<'a> {
        PreFilter::Check(Box::new(|node: &NodeInfo| fit(pod, node)))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        _view: &View<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        Some(Box::new(LeastAllocated { pod }))
    }

    fn listens(&self, event: &Event) -> bool {
        match event {
            Event::PodChanged { old, new } => old.requests != new.requests,
            Event::PodGone(_) | Event::SelfChanged { .. } => true,
            _ => event.node().is_some(),
        }
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        match event {
            Event::NodeAdded(node) => fits_empty(pod, node),
            Event::NodeChanged { old, new } => {
                let allocatable = |node: &k8s_openapi::api::core::v1::Node| {
                    node.status.as_ref().and_then(|status| status.allocatable.clone())
                };
                allocatable(old) != allocatable(new.object()) && fits_empty(pod, new)
            }
            Event::PodGone(_) => true,
            Event::PodChanged { old, new } => old.requests != new.requests,
            Event::SelfChanged { old } => old.requests != pod.requests,
            _ => false,
        }
    }
}

impl Scorer for LeastAllocated<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let free = |wanted: i64, all: i64| {
            if all <= 0 {
                return None;
            }
            Some(if wanted > all { 0 } else { (all - wanted) * MAX_SCORE / all })
        };
        let (cpu, memory) =
            (node.scoring.0 + self.pod.scoring.0, node.scoring.1 + self.pod.scoring.1);
        let of_cpu = free(cpu, node.allocatable.milli_cpu);
        match (of_cpu, free(memory, node.allocatable.memory)) {
            (Some(cpu), Some(memory)) => (cpu + memory) / 2,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => 0,
        }
    }
}
