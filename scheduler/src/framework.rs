//! What a plugin is: it may reject Pods before they queue, filter nodes, score nodes, and say which
//! event could change its mind.
//!
//! A plugin keeps nothing between Pods. What it computes for one Pod lives in the boxed [`Filter`]
//! or [`Scorer`] that it returns, so that a "what if" (a node without some Pods, in preemption) is
//! simply another [`View`].

use crate::{
    cache::Cache,
    config::Config,
    event::Event,
    node_info::NodeInfo,
    pod_info::{AffinityTerm, Namespaces, PodInfo},
    tally::{Counts, Ground, Question, Role},
    volumes::{Promised, Volumes},
    workloads::Workloads,
};
use std::{borrow::Cow, rc::Rc};

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
#[derive(Clone)]
pub struct View<'a> {
    /// All nodes whose object is known.
    nodes: Rc<[&'a NodeInfo]>,
    /// One of them, and what stands for it in a "what if".
    swapped: Option<(&'a NodeInfo, &'a NodeInfo)>,
    /// Where exactly these nodes come from: it finds them by name, and counts over them.
    cache: Option<&'a Cache>,
    /// Labels of the namespaces.
    pub namespaces: &'a Namespaces,
    /// Services and the owners of Pods, for default spreading.
    pub workloads: &'a dyn Workloads,
    /// Claims and volumes.
    pub volumes: &'a dyn Volumes,
    /// Volumes that are spoken for.
    pub promised: &'a Promised,
    /// The scheduler's settings.
    pub config: &'a Config,
}

/// What surrounds nodes and Pods.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Services and the owners of Pods.
    pub workloads: &'a dyn Workloads,
    /// Claims and volumes.
    pub volumes: &'a dyn Volumes,
}

impl<'a> View<'a> {
    /// A cluster of these nodes.
    pub fn new(
        nodes: Vec<&'a NodeInfo>,
        namespaces: &'a Namespaces,
        promised: &'a Promised,
        world: World<'a>,
        config: &'a Config,
    ) -> Self {
        let World { workloads, volumes } = world;
        let (swapped, cache) = (None, None);
        let nodes = nodes.into();
        View { nodes, swapped, cache, namespaces, workloads, volumes, promised, config }
    }

    /// All nodes of a cache.
    pub fn of(
        cache: &'a Cache,
        promised: &'a Promised,
        world: World<'a>,
        config: &'a Config,
    ) -> Self {
        let nodes = cache.nodes().collect();
        View { cache: Some(cache), ..Self::new(nodes, cache.namespaces(), promised, world, config) }
    }

    /// How many nodes there are.
    pub fn total(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &'a NodeInfo> {
        (0..self.nodes.len()).map(|at| self.node(at))
    }

    /// The node at a position.
    pub fn node(&self, at: usize) -> &'a NodeInfo {
        match self.swapped {
            Some((old, new)) if std::ptr::eq(self.nodes[at], old) => new,
            _ => self.nodes[at],
        }
    }

    /// The node of a name.
    pub fn named(&self, name: &str) -> Option<&'a NodeInfo> {
        let Some(cache) = self.cache else { return self.nodes().find(|node| node.name == name) };
        let found = cache.node(name)?;
        match self.swapped {
            Some((old, new)) if std::ptr::eq(found, old) => Some(new),
            _ => Some(found),
        }
    }

    /// The same cluster with one of its nodes replaced: a "what if".
    pub fn with(&self, old: &'a NodeInfo, new: &'a NodeInfo) -> View<'a> {
        match self.swapped {
            None => View { swapped: Some((old, new)), ..self.clone() },
            Some((first, second)) if std::ptr::eq(second, old) => {
                View { swapped: Some((first, new)), ..self.clone() }
            }
            // Two nodes at once: the kept counts are of no use.
            Some(_) => {
                let nodes = self.nodes().collect();
                View { nodes, swapped: Some((old, new)), cache: None, ..self.clone() }
            }
        }
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            nodes: &self.nodes,
            swapped: self.swapped,
            namespaces: self.namespaces,
            tallies: self.cache.map(Cache::tallies),
        }
    }

    /// Counts Pods by the values of a node label, on nodes that have all needed labels.
    pub fn count(&self, question: Question, label: &str, needed: &[String]) -> Counts {
        Counts::of(&self.ground(), question, label, needed)
    }

    /// The same, but only on nodes that `wanted` accepts. Looks at all Pods.
    pub fn count_on(
        &self,
        question: Question,
        label: &str,
        needed: &[String],
        wanted: impl Fn(&NodeInfo) -> bool,
    ) -> Counts {
        Counts::on(&self.ground(), question, label, needed, wanted)
    }

    /// The different terms of a role that the Pods here have and that speak of `pod`.
    pub fn terms_about(&self, role: Role, pod: &PodInfo) -> Vec<AffinityTerm> {
        let mut found: Vec<AffinityTerm> = Vec::new();
        let mut take = |term: &AffinityTerm| {
            if term.matches(pod, self.namespaces) && !found.contains(term) {
                found.push(term.clone());
            }
        };
        let looked_at: Vec<&NodeInfo> = match (self.cache.map(Cache::tallies), self.swapped) {
            (None, _) => self.nodes().collect(),
            (Some(tallies), swapped) => {
                tallies.terms(role).for_each(&mut take);
                swapped.map(|(_, new)| new).into_iter().collect()
            }
        };
        for node in looked_at.into_iter().filter(|node| node.with_affinity > 0) {
            node.pods.iter().flat_map(|pod| role.terms(pod)).for_each(&mut take);
        }
        found
    }

    /// How many nodes have an image.
    pub fn nodes_with_image(&self, image: &str) -> usize {
        match self.cache {
            Some(cache) => cache.tallies().nodes_with(image),
            None => self.nodes().filter(|node| node.images.contains_key(image)).count(),
        }
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

    /// Whether events of this sort can ever wake a Pod that this plugin has refused: asked once per
    /// event, for all Pods together.
    fn listens(&self, _event: &Event) -> bool {
        true
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
