//! Keeps Pods off nodes whose taints they don't tolerate, and prefers nodes with fewer soft taints.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Scorer, Verdict, View, normalize_by_highest},
    node_info::NodeInfo,
    pod_info::PodInfo,
    selector::{tolerates, untolerated},
};
use k8s_openapi::api::core::v1::Toleration;

/// See the file's head.
pub struct TaintToleration;

/// Counts soft taints that the Pod does not tolerate.
struct SoftTaints<'a> {
    /// The tolerations that can accept a soft taint.
    tolerations: Vec<&'a Toleration>,
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _view: &View<'a>) -> PreFilter<'a> {
        PreFilter::Check(Box::new(|node: &NodeInfo| {
            match untolerated(&node.taints, &pod.tolerations) {
                Some(_) => Verdict::unresolvable("node(s) had untolerated taint(s)"),
                None => Verdict::Pass,
            }
        }))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        _view: &View<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        let soft = |toleration: &&Toleration| {
            matches!(toleration.effect.as_deref(), None | Some("" | "PreferNoSchedule"))
        };
        let tolerations = pod.tolerations.iter().filter(soft).collect();
        Some(Box::new(SoftTaints { tolerations }))
    }

    fn listens(&self, event: &Event) -> bool {
        event.node().is_some() || matches!(event, Event::SelfChanged { .. })
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        match event {
            Event::SelfChanged { old } => old.tolerations != pod.tolerations,
            _ => event
                .node()
                .is_some_and(|node| untolerated(&node.taints, &pod.tolerations).is_none()),
        }
    }
}

impl Scorer for SoftTaints<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let unwanted = node.taints.iter().filter(|taint| {
            taint.effect == "PreferNoSchedule"
                && !self.tolerations.iter().any(|toleration| tolerates(toleration, taint))
        });
        i64::try_from(unwanted.count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_highest(scores, true);
    }
}
