//! Pods that want to be near other Pods, or far from them, in domains made by a node label.

use crate::{
    event::Event,
    framework::{MAX_SCORE, Plugin, PreFilter, Scorer, Verdict, View},
    node_info::NodeInfo,
    pod_info::{AffinityTerm, Namespaces, PodInfo},
};
use std::collections::HashMap;

/// Weight of another Pod's required affinity when nodes are scored.
const HARD_WEIGHT: i64 = 1;

/// See the file's head.
pub struct InterPodAffinity;

/// Sums by topology key and domain.
#[derive(Default)]
struct Sums {
    by_key: HashMap<String, HashMap<String, i64>>,
}

impl Sums {
    /// Adds to the domain that a node is in, if it is in one.
    fn add(&mut self, node: &NodeInfo, key: &str, amount: i64) {
        let Some(domain) = node.label(key) else { return };
        let domains = self.by_key.entry(key.to_owned()).or_default();
        *domains.entry(domain.to_owned()).or_default() += amount;
    }

    fn get(&self, node: &NodeInfo, key: &str) -> i64 {
        let domains = node.label(key).zip(self.by_key.get(key));
        domains.and_then(|(domain, sums)| sums.get(domain)).copied().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

/// What filtering needs to know about the Pods that are there.
struct Neighbours<'a> {
    pod: &'a PodInfo,
    /// Pods that must not be near the new one, by domain.
    repelled: Sums,
    /// Pods that meet *all* of its required terms, by domain of each term.
    attracted: Sums,
    /// Pods that it must not be near, by domain of each term.
    avoided: Sums,
    /// It meets its own required terms, and nobody else does: the first of a group may go anywhere.
    first_of_its_kind: bool,
}

impl<'a> Neighbours<'a> {
    fn look(pod: &'a PodInfo, view: &View<'a>) -> Self {
        let namespaces = view.namespaces;
        let wanted = &pod.affinity;
        let mut repelled = Sums::default();
        let mut attracted = Sums::default();
        let mut avoided = Sums::default();
        for node in &view.nodes {
            if node.with_required_anti > 0 {
                for other in &node.pods {
                    for term in &other.affinity.required_anti {
                        if term.matches(pod, namespaces) {
                            repelled.add(node, &term.topology_key, 1);
                        }
                    }
                }
            }
            if wanted.required.is_empty() && wanted.required_anti.is_empty() {
                continue;
            }
            for other in &node.pods {
                if !wanted.required.is_empty() && all_match(&wanted.required, other, namespaces) {
                    for term in &wanted.required {
                        attracted.add(node, &term.topology_key, 1);
                    }
                }
                for term in &wanted.required_anti {
                    if term.matches(other, namespaces) {
                        avoided.add(node, &term.topology_key, 1);
                    }
                }
            }
        }
        let first_of_its_kind =
            attracted.is_empty() && all_match(&wanted.required, pod, namespaces);
        Self { pod, repelled, attracted, avoided, first_of_its_kind }
    }

    /// Whether all required terms are met on a node.
    fn attraction_met(&self, node: &NodeInfo) -> bool {
        let required = &self.pod.affinity.required;
        let has_keys = required.iter().all(|term| node.label(&term.topology_key).is_some());
        let met = || required.iter().all(|term| self.attracted.get(node, &term.topology_key) > 0);
        has_keys && (met() || self.first_of_its_kind)
    }

    fn check(&self, node: &NodeInfo) -> Verdict {
        if !self.pod.affinity.required.is_empty() && !self.attraction_met(node) {
            return Verdict::unresolvable("node(s) didn't match pod affinity rules");
        }
        let anti = &self.pod.affinity.required_anti;
        if anti.iter().any(|term| self.avoided.get(node, &term.topology_key) > 0) {
            return Verdict::unschedulable("node(s) didn't match pod anti-affinity rules");
        }
        let near = |key: &String| self.repelled.get(node, key) > 0;
        if self.repelled.by_key.keys().any(near) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Verdict::unschedulable(reason);
        }
        Verdict::Pass
    }
}

/// Whether a Pod meets every term.
fn all_match(terms: &[AffinityTerm], pod: &PodInfo, namespaces: &Namespaces) -> bool {
    terms.iter().all(|term| term.matches(pod, namespaces))
}

/// Adds up preferences by domain.
fn preferences(pod: &PodInfo, view: &View) -> Sums {
    let namespaces = view.namespaces;
    let mine = || pod.affinity.preferred.iter().chain(&pod.affinity.preferred_anti);
    let have_mine = mine().next().is_some();
    let mut sums = Sums::default();
    for node in &view.nodes {
        if !have_mine && node.with_affinity == 0 {
            continue;
        }
        for other in &node.pods {
            for term in mine().filter(|term| term.matches(other, namespaces)) {
                sums.add(node, &term.topology_key, term.weight);
            }
            let theirs = &other.affinity;
            for term in theirs.required.iter().filter(|term| term.matches(pod, namespaces)) {
                sums.add(node, &term.topology_key, HARD_WEIGHT);
            }
            for term in theirs.preferred.iter().chain(&theirs.preferred_anti) {
                if term.matches(pod, namespaces) {
                    sums.add(node, &term.topology_key, term.weight);
                }
            }
        }
    }
    sums
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, view: &View<'a>) -> PreFilter<'a> {
        let anybody = || view.nodes.iter().any(|node| node.with_required_anti > 0);
        let affinity = &pod.affinity;
        if affinity.required.is_empty() && affinity.required_anti.is_empty() && !anybody() {
            return PreFilter::Skip;
        }
        let neighbours = Neighbours::look(pod, view);
        PreFilter::Check(Box::new(move |node: &NodeInfo| neighbours.check(node)))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        view: &View<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        let sums = preferences(pod, view);
        (!sums.is_empty()).then(|| Box::new(sums) as Box<dyn Scorer>)
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        event.moves_topology()
            || event.moves_pods()
            || matches!(event, Event::SelfChanged { old }
                if old.pod.metadata.labels != pod.pod.metadata.labels)
    }
}

impl Scorer for Sums {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.by_key.keys().map(|key| self.get(node, key)).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let lowest = scores.iter().copied().min().unwrap_or(0);
        let highest = scores.iter().copied().max().unwrap_or(0);
        for score in scores {
            *score = match highest - lowest {
                0 => 0,
                range => MAX_SCORE * (*score - lowest) / range,
            };
        }
    }
}
