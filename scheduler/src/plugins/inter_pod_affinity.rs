//! Pods that want to be near other Pods, or far from them, in domains made by a node label.

use crate::{
    event::Event,
    framework::{MAX_SCORE, Plugin, PreFilter, Scorer, Verdict, View},
    node_info::NodeInfo,
    pod_info::{AffinityTerm, Namespaces, PodInfo},
    tally::{Counts, Question, Role},
};

/// Weight of another Pod's required affinity when nodes are scored.
const HARD_WEIGHT: i64 = 1;

/// See the file's head.
pub struct InterPodAffinity;

/// What filtering needs to know about the Pods that are there.
struct Neighbours<'a> {
    pod: &'a PodInfo,
    /// Pods that must not be near the new one, by term.
    repelled: Vec<Counts>,
    /// Pods that meet *all* of its required terms, in the domains of each term.
    attracted: Vec<Counts>,
    /// Pods that it must not be near, by term.
    avoided: Vec<Counts>,
    /// It meets its own required terms, and nobody else does: the first of a group may go anywhere.
    first_of_its_kind: bool,
}

impl<'a> Neighbours<'a> {
    fn look(pod: &'a PodInfo, view: &View<'a>) -> Self {
        let wanted = &pod.affinity;
        let role = Role::RequiredAnti;
        let repelled = view.terms_about(role, pod).into_iter().map(|term| {
            let key = term.topology_key.clone();
            view.count(Question::Having(role, term), &key, &[])
        });
        let attracted = wanted.required.iter().map(|term| {
            view.count(Question::Meeting(wanted.required.clone()), &term.topology_key, &[])
        });
        let avoided = wanted
            .required_anti
            .iter()
            .map(|term| view.count(Question::Meeting(vec![term.clone()]), &term.topology_key, &[]));
        let attracted: Vec<Counts> = attracted.collect();
        let nobody = attracted.iter().all(|counts| counts.total() == 0);
        let first_of_its_kind = nobody && all_match(&wanted.required, pod, view.namespaces);
        let repelled = repelled.filter(|counts| counts.total() > 0).collect();
        Self { pod, repelled, attracted, avoided: avoided.collect(), first_of_its_kind }
    }

    fn is_free(&self) -> bool {
        let affinity = &self.pod.affinity;
        let nobody = self.repelled.is_empty();
        nobody && affinity.required.is_empty() && affinity.required_anti.is_empty()
    }

    /// Whether all required terms are met on a node.
    fn attraction_met(&self, node: &NodeInfo) -> bool {
        let required = &self.pod.affinity.required;
        let has_keys = required.iter().all(|term| node.label(&term.topology_key).is_some());
        let met = || self.attracted.iter().all(|counts| counts.at(node) > 0);
        has_keys && (met() || self.first_of_its_kind)
    }

    fn check(&self, node: &NodeInfo) -> Verdict {
        if !self.pod.affinity.required.is_empty() && !self.attraction_met(node) {
            return Verdict::unresolvable("node(s) didn't match pod affinity rules");
        }
        if self.avoided.iter().any(|counts| counts.at(node) > 0) {
            return Verdict::unschedulable("node(s) didn't match pod anti-affinity rules");
        }
        if self.repelled.iter().any(|counts| counts.at(node) > 0) {
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

/// What draws a Pod to domains or keeps it away: counts and what each counted Pod weighs.
struct Preferences {
    parts: Vec<(Counts, i64)>,
}

impl Preferences {
    fn look(pod: &PodInfo, view: &View) -> Self {
        let mut parts = Vec::new();
        let mut add = |question, term: &AffinityTerm, weight| {
            let counts = view.count(question, &term.topology_key, &[]);
            if counts.total() > 0 {
                parts.push((counts, weight));
            }
        };
        for term in Role::Preferred.terms(pod) {
            add(Question::Meeting(vec![term.clone()]), term, term.weight);
        }
        for term in view.terms_about(Role::Required, pod) {
            add(Question::Having(Role::Required, term.clone()), &term, HARD_WEIGHT);
        }
        for term in view.terms_about(Role::Preferred, pod) {
            add(Question::Having(Role::Preferred, term.clone()), &term, term.weight);
        }
        Self { parts }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, view: &View<'a>) -> PreFilter<'a> {
        let neighbours = Neighbours::look(pod, view);
        if neighbours.is_free() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(move |node: &NodeInfo| neighbours.check(node)))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        view: &View<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        let preferences = Preferences::look(pod, view);
        (!preferences.parts.is_empty()).then(|| Box::new(preferences) as Box<dyn Scorer>)
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        let concerns = |other: &PodInfo| {
            let mine = pod.affinity.required.iter().chain(&pod.affinity.required_anti);
            mine.into_iter().any(|term| term.may_match(other))
                || other.affinity.required_anti.iter().any(|term| term.may_match(pod))
        };
        match event {
            Event::PodBound(other) | Event::PodGone(other) => concerns(other),
            Event::PodChanged { old, new } => {
                event.moves_pods() && (concerns(old) || concerns(new))
            }
            Event::SelfChanged { old } => old.pod.metadata.labels != pod.pod.metadata.labels,
            _ => event.moves_topology() || event.moves_pods(),
        }
    }
}

impl Scorer for Preferences {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.parts.iter().map(|(counts, weight)| counts.at(node) * weight).sum()
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
