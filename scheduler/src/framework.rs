//! What a plugin is: it may reject Pods before they queue, filter nodes, score nodes, and say which event could
//! change its mind.
//!
//! A plugin keeps nothing between Pods. What it computes for one Pod lives in the boxed [`Filter`] or [`Scorer`] that
//! it returns, so that a "what if" (a node without some Pods, in preemption) is simply another [`View`].

use crate::{
    config::Config,
    event::Event,
    node_info::NodeInfo,
    pod_info::{Namespaces, PodInfo},
    workloads::Workloads,
};
use std::borrow::Cow;

/// Highest score of one plugin.
pub const MAX_SCORE: i64 = 100;

/// Why a node (or a Pod) is refused, in the words users see.
pub type Reason = Cow<'static, str>;

/// What a filter says about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The Pod can run there.
    Pass,
    /// It can't, but removing other Pods could help.
    Unschedulable(Vec<Reason>),
    /// It can't, whatever Pods are removed.
    Unresolvable(Vec<Reason>),
}

impl Verdict {
    /// Refused for one reason; removing Pods could help.
    pub fn unschedulable(reason: &'static str) -> Self {
        Self::Unschedulable(vec![Cow::Borrowed(reason)])
    }

    /// Refused for one reason; removing Pods can't help.
    pub fn unresolvable(reason: &'static str) -> Self {
        Self::Unresolvable(vec![Cow::Borrowed(reason)])
    }

    /// The reasons of a refusal.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Pass => &[],
            Self::Unschedulable(reasons) | Self::Unresolvable(reasons) => reasons,
        }
    }
}

/// The cluster at one moment, as plugins may look at it.
pub struct View<'a> {
    /// All nodes whose object is known.
    pub nodes: Vec<&'a NodeInfo>,
    /// Labels of the namespaces.
    pub namespaces: &'a Namespaces,
    /// Services and the owners of Pods, for default spreading.
    pub workloads: &'a dyn Workloads,
    /// The scheduler's settings.
    pub config: &'a Config,
}

impl<'a> View<'a> {
    /// The same cluster with one node replaced: a "what if".
    pub fn with(&self, node: &'a NodeInfo) -> View<'a> {
        let swap = |one: &&'a NodeInfo| if one.name == node.name { node } else { *one };
        View { nodes: self.nodes.iter().map(swap).collect(), ..*self }
    }
}

/// What a plugin wants to do with the nodes for one Pod.
pub enum PreFilter<'a> {
    /// Nothing: the Pod does not ask for anything this plugin knows.
    Skip,
    /// The Pod can't run anywhere.
    Reject(Verdict),
    /// Look at each node.
    Check(Box<dyn Filter + 'a>),
    /// Look at each of these nodes; all others are out of the question.
    CheckOnly(Vec<String>, Box<dyn Filter + 'a>),
}

/// Looks at nodes for one Pod.
pub trait Filter {
    /// Can the Pod run there?
    fn check(&self, node: &NodeInfo) -> Verdict;
}

impl<F: Fn(&NodeInfo) -> Verdict> Filter for F {
    fn check(&self, node: &NodeInfo) -> Verdict {
        self(node)
    }
}

/// Rates nodes for one Pod.
pub trait Scorer {
    /// How good a node is, on any scale.
    fn score(&self, node: &NodeInfo) -> i64;

    /// Brings all scores to 0..=100. `scores` are in the order of the feasible nodes.
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// One scheduling rule. All methods have a neutral default.
pub trait Plugin: Send + Sync {
    /// Its name, as in upstream's configuration.
    fn name(&self) -> &'static str;

    /// Weight of its score; 0 when it does not score.
    fn weight(&self) -> i64 {
        0
    }

    /// Whether a Pod must not even queue yet.
    fn holds_back(&self, _pod: &PodInfo) -> bool {
        false
    }

    /// Prepares filtering for a Pod.
    fn pre_filter<'a>(&self, _pod: &'a PodInfo, _view: &View<'a>) -> PreFilter<'a> {
        PreFilter::Skip
    }

    /// Prepares scoring of the feasible nodes; `None` when all would be equal.
    fn pre_score<'a>(
        &self,
        _pod: &'a PodInfo,
        _view: &View<'a>,
        _feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        None
    }

    /// Whether an event could make a Pod schedulable that this plugin has refused.
    fn wakes(&self, event: &Event, pod: &PodInfo) -> bool;
}

/// Scales scores so that the highest becomes 100 (or the lowest, when `reverse`).
pub fn normalize_by_highest(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if highest == 0 { 0 } else { MAX_SCORE * *score / highest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}
