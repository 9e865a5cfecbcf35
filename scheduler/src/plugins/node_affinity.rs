//! Node selectors and node affinity: required terms filter, preferred terms score.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Scorer, Verdict, View, normalize_by_highest},
    node_info::NodeInfo,
    pod_info::PodInfo,
    selector::NodeTerm,
};
use k8s_openapi::api::core::v1::Node;

/// What users see.
const REASON: &str = "node(s) didn't match Pod's node affinity/selector";

/// See the file's head.
pub struct NodeAffinity;

/// Whether a node meets a Pod's node selector and required node affinity.
pub fn required_match(pod: &PodInfo, node: &Node) -> bool {
    pod.node_selector.matches(node.metadata.labels.as_ref())
        && pod.node_terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
}

/// The only nodes that can match, when every alternative names its nodes (as Pods of a DaemonSet
/// do).
fn named_nodes(pod: &PodInfo) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for term in pod.node_terms.as_ref()? {
        all.extend(term.names()?.into_iter().map(str::to_owned));
    }
    Some(all)
}

/// Adds up the weights of the preferred terms that a node meets.
struct Preferred {
    terms: Vec<(i64, NodeTerm)>,
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, _view: &View<'a>) -> PreFilter<'a> {
        if pod.node_selector.is_empty() && pod.node_terms.is_none() {
            return PreFilter::Skip;
        }
        let check = Box::new(|node: &NodeInfo| {
            if required_match(pod, node.object()) {
                Verdict::Pass
            } else {
                Verdict::unresolvable(REASON)
            }
        });
        match named_nodes(pod) {
            Some(names)
                if names.is_empty()
                    && pod.node_terms.as_ref().is_some_and(|terms| !terms.is_empty()) =>
            {
                PreFilter::Reject(Verdict::unresolvable("pod affinity terms conflict"))
            }
            Some(names) if !names.is_empty() => PreFilter::CheckOnly(names, check),
            _ => PreFilter::Check(check),
        }
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        _view: &View<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        let affinity = pod.pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_ref()?;
        let compiled = |term: &k8s_openapi::api::core::v1::PreferredSchedulingTerm| {
            (i64::from(term.weight), NodeTerm::compile(&term.preference))
        };
        let terms: Vec<_> = preferred.iter().map(compiled).collect();
        (!terms.is_empty()).then(|| Box::new(Preferred { terms }) as Box<dyn Scorer>)
    }

    fn listens(&self, event: &Event) -> bool {
        event.node().is_some() || matches!(event, Event::SelfChanged { .. })
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        match event {
            Event::SelfChanged { old } => {
                old.node_selector != pod.node_selector || old.node_terms != pod.node_terms
            }
            _ => event.node().is_some_and(|node| required_match(pod, node.object())),
        }
    }
}

impl Scorer for Preferred {
    fn score(&self, node: &NodeInfo) -> i64 {
        let met = self.terms.iter().filter(|(_, term)| term.matches(node.object()));
        met.map(|(weight, _)| weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_highest(scores, false);
    }
}
