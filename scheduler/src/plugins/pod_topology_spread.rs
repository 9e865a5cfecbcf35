//! Spreads Pods evenly over domains (zones, hosts): required constraints filter, others score, and
//! Pods that say nothing but belong to a Service or an owner get mild defaults.

use super::node_affinity::required_match;
use crate::{
    event::Event,
    framework::{MAX_SCORE, Plugin, PreFilter, Scorer, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
    selector::{Selector, untolerated},
    tally::{Counts, Question},
};
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use std::collections::HashSet;

/// The label that is one domain per node.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Constraints of Pods that have none of their own: topology key and skew.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), ("topology.kubernetes.io/zone", 5)];

/// See the file's head.
pub struct PodTopologySpread;

/// A compiled constraint.
struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: i64,
    selector: Selector,
    /// Only nodes that the Pod's node affinity accepts are domains.
    honor_affinity: bool,
    /// Only nodes whose taints the Pod tolerates are domains.
    honor_taints: bool,
}

impl Constraint {
    fn compile(one: &TopologySpreadConstraint) -> Self {
        Self {
            key: one.topology_key.clone(),
            max_skew: i64::from(one.max_skew),
            min_domains: i64::from(one.min_domains.unwrap_or(1)),
            selector: Selector::compile(one.label_selector.as_ref()),
            honor_affinity: one.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: one.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Whether a node is a place to count at all.
    fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honor_affinity || required_match(pod, node.object()))
            && (!self.honor_taints || untolerated(&node.taints, &pod.tolerations).is_none())
    }

    /// The group's Pods by domain, on nodes that have all needed labels.
    fn count(&self, pod: &PodInfo, view: &View, needed: &[String]) -> Counts {
        let selector = self.selector.clone();
        let question = Question::Group { namespace: pod.namespace.clone(), selector };
        let anywhere = pod.node_selector.is_empty() && pod.node_terms.is_none();
        if (anywhere || !self.honor_affinity) && !self.honor_taints {
            view.count(question, &self.key, needed)
        } else {
            view.count_on(question, &self.key, needed, |node| self.includes(pod, node))
        }
    }
}

/// The Pod's own constraints of one kind.
fn own(pod: &PodInfo, when: &str) -> Vec<Constraint> {
    let spec = pod.pod.spec.as_ref();
    let all = spec.and_then(|spec| spec.topology_spread_constraints.as_ref());
    let wanted = all.into_iter().flatten().filter(|one| one.when_unsatisfiable == when);
    wanted.map(Constraint::compile).collect()
}

/// Whether the Pod has constraints of its own.
fn has_own(pod: &PodInfo) -> bool {
    let spec = pod.pod.spec.as_ref();
    spec.and_then(|spec| spec.topology_spread_constraints.as_ref())
        .is_some_and(|all| !all.is_empty())
}

/// Whether a node has the keys of all constraints.
fn has_keys(node: &NodeInfo, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|one| node.label(&one.key).is_some())
}

/// The keys of all constraints.
fn keys(constraints: &[Constraint]) -> Vec<String> {
    constraints.iter().map(|one| one.key.clone()).collect()
}

/// Checks required constraints.
fn filter<'a>(
    pod: &'a PodInfo,
    constraints: Vec<Constraint>,
    domains: Vec<Counts>,
) -> PreFilter<'a> {
    let lowest: Vec<i64> = constraints
        .iter()
        .zip(&domains)
        .map(|(one, counts)| {
            let enough = i64::try_from(counts.domains()).unwrap_or(i64::MAX) >= one.min_domains;
            if enough { counts.lowest() } else { 0 }
        })
        .collect();
    let matches_itself: Vec<i64> = constraints
        .iter()
        .map(|one| i64::from(one.selector.matches(pod.pod.metadata.labels.as_ref())))
        .collect();
    PreFilter::Check(Box::new(move |node: &NodeInfo| {
        for (at, one) in constraints.iter().enumerate() {
            let Some(domain) = node.label(&one.key) else {
                return Verdict::unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            };
            let there = domains[at].domain(domain);
            if there + matches_itself[at] - lowest[at] > one.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                return Verdict::unschedulable(reason);
            }
        }
        Verdict::Pass
    }))
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, view: &View<'a>) -> PreFilter<'a> {
        let constraints = own(pod, "DoNotSchedule");
        if constraints.is_empty() {
            return PreFilter::Skip;
        }
        let needed = keys(&constraints);
        let domains = constraints.iter().map(|one| one.count(pod, view, &needed)).collect();
        filter(pod, constraints, domains)
    }

    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        view: &View<'a>,
        feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        let mut constraints = own(pod, "ScheduleAnyway");
        let all_keys = has_own(pod);
        if !all_keys {
            let selector = view.workloads.selector(pod)?;
            let default = |(key, max_skew): (&str, i64)| Constraint {
                key: key.to_owned(),
                max_skew,
                min_domains: 1,
                selector: selector.clone(),
                honor_affinity: true,
                honor_taints: false,
            };
            constraints = DEFAULTS.map(default).into();
        }
        if constraints.is_empty() {
            return None;
        }
        Some(Box::new(Spread::new(pod, view, feasible, constraints, all_keys)))
    }

    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool {
        let concerns = |other: &PodInfo| {
            let labels = other.pod.metadata.labels.as_ref();
            let constraints = own(pod, "DoNotSchedule");
            other.namespace == pod.namespace
                && constraints.iter().any(|one| one.selector.matches(labels))
        };
        match event {
            Event::PodBound(other) | Event::PodGone(other) => concerns(other),
            Event::PodChanged { old, new } => {
                event.moves_pods() && (concerns(old) || concerns(new))
            }
            Event::SelfChanged { old } => old.pod.metadata.labels != pod.pod.metadata.labels,
            Event::NamespaceChanged => false,
            _ => event.moves_topology(),
        }
    }
}

/// Rates nodes by how few Pods of the group their domains hold.
struct Spread {
    constraints: Vec<Constraint>,
    domains: Vec<Counts>,
    /// Makes domains of different number comparable.
    weights: Vec<f64>,
    /// Feasible nodes that lack a key, in the order of the feasible nodes.
    ignored: Vec<bool>,
}

impl Spread {
    /// With `all_keys` nodes must have the keys of all constraints, or they score nothing.
    #[expect(clippy::cast_precision_loss, reason = "counts of domains are far below 2^52")]
    fn new(
        pod: &PodInfo,
        view: &View,
        feasible: &[&NodeInfo],
        constraints: Vec<Constraint>,
        all_keys: bool,
    ) -> Self {
        let ignored: Vec<bool> =
            feasible.iter().map(|node| all_keys && !has_keys(node, &constraints)).collect();
        let counted = || feasible.iter().zip(&ignored).filter(|(_, ignored)| !**ignored);
        let size = |one: &Constraint| match one.key.as_str() {
            HOSTNAME => counted().count(),
            key => counted().filter_map(|(node, _)| node.label(key)).collect::<HashSet<_>>().len(),
        };
        let weights = constraints.iter().map(|one| (size(one) as f64 + 2.0).ln()).collect();
        let needed = if all_keys { keys(&constraints) } else { Vec::new() };
        let domains = constraints.iter().map(|one| one.count(pod, view, &needed)).collect();
        Self { constraints, domains, weights, ignored }
    }
}

impl Scorer for Spread {
    #[expect(clippy::cast_precision_loss, reason = "counts of Pods are far below 2^52")]
    #[expect(clippy::cast_possible_truncation, reason = "a rounded count of Pods")]
    fn score(&self, node: &NodeInfo) -> i64 {
        let mut score = 0.0;
        for (at, one) in self.constraints.iter().enumerate() {
            let Some(domain) = node.label(&one.key) else { continue };
            let there = self.domains[at].domain(domain);
            score += there as f64 * self.weights[at] + (one.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        let counted = || scores.iter().zip(&self.ignored).filter(|(_, ignored)| !**ignored);
        let lowest = counted().map(|(score, _)| *score).min().unwrap_or(0);
        let highest = counted().map(|(score, _)| *score).max().unwrap_or(0);
        for (score, ignored) in scores.iter_mut().zip(&self.ignored) {
            *score = match (ignored, highest) {
                (true, _) => 0,
                (false, 0) => MAX_SCORE,
                (false, _) => MAX_SCORE * (highest + lowest - *score) / highest,
            };
        }
    }
}
