//! One decision: filter the nodes for a Pod, score those that are left, choose the best.
//!
//! Pure: it looks at a [`View`] and changes nothing. The same functions answer preemption's "what
//! if".

use crate::{
    cache::Nominations,
    diagnosis::{NodeVerdict, Refusal},
    framework::{Filter, Plugin, PreFilter, Scorer, Verdict, View},
    node_info::NodeInfo,
    plugins::PLUGINS,
    pod_info::PodInfo,
};
use rand::Rng;
use std::collections::HashSet;

/// Clusters smaller than this are always looked at whole.
const SMALL_CLUSTER: usize = 100;

/// The filters that apply to one Pod, in the order of the table.
pub struct Filters<'a> {
    checks: Vec<(&'static str, Box<dyn Filter + 'a>)>,
    /// When set, only these nodes are possible, and who said so.
    only: Option<(HashSet<String>, &'static str)>,
}

impl<'a> Filters<'a> {
    /// Asks every plugin; `Err` when one of them rules the Pod out altogether.
    pub fn prepare(pod: &'a PodInfo, view: &View<'a>) -> Result<Self, (&'static str, Verdict)> {
        let mut checks = Vec::new();
        let mut only: Option<(HashSet<String>, &'static str)> = None;
        for plugin in PLUGINS {
            let check = match plugin.pre_filter(pod, view) {
                PreFilter::Skip => continue,
                PreFilter::Reject(verdict) => return Err((plugin.name(), verdict)),
                PreFilter::Check(check) => check,
                PreFilter::CheckOnly(names, check) => {
                    only = Some((names.into_iter().collect(), plugin.name()));
                    check
                }
            };
            checks.push((plugin.name(), check));
        }
        Ok(Self { checks, only })
    }

    /// The first refusal of a node.
    pub fn check(&self, node: &NodeInfo) -> Result<(), (&'static str, Verdict)> {
        for (plugin, check) in &self.checks {
            match check.check(node) {
                Verdict::Pass => {}
                refused => return Err((plugin, refused)),
            }
        }
        Ok(())
    }
}

/// Checks a node for a Pod, once with the Pods for which room is kept there, and once without.
pub fn check_node(
    pod: &PodInfo,
    view: &View,
    filters: &Filters,
    node: &NodeInfo,
    nominations: &Nominations,
) -> Result<(), (&'static str, Verdict)> {
    let before = nominations.before(pod, &node.name);
    if !before.is_empty() {
        let mut crowded = node.clone();
        before.into_iter().for_each(|one| crowded.add_pod(one));
        let what_if = view.with(node, &crowded);
        Filters::prepare(pod, &what_if)?.check(&crowded)?;
    }
    filters.check(node)
}

/// How many feasible nodes are enough.
fn enough(total: usize, percentage: u8) -> usize {
    if total < SMALL_CLUSTER {
        return total;
    }
    let percentage = match percentage {
        0 => 50_usize.saturating_sub(total / 125).max(5),
        given => usize::from(given.min(100)),
    };
    (total * percentage / 100).max(SMALL_CLUSTER)
}

/// Finds the best node for a Pod. `start` is where the search begins; it moves on with every
/// decision so that all nodes of a large cluster get their turn.
pub fn choose<'a>(
    pod: &PodInfo,
    view: &View<'a>,
    nominations: &Nominations,
    nominated: Option<&str>,
    start: &mut usize,
) -> Result<String, Refusal<'a>> {
    let total = view.total();
    let mut refusal = Refusal { total, ..Refusal::default() };
    let filters = match Filters::prepare(pod, view) {
        Ok(filters) => filters,
        Err((plugin, verdict)) => {
            refusal.before = Some((plugin, verdict.reasons().to_vec()));
            return Err(refusal);
        }
    };
    if let Some(node) = nominated.and_then(|name| view.named(name))
        && check_node(pod, view, &filters, node, nominations).is_ok()
    {
        return Ok(node.name.clone());
    }
    let mut feasible = Vec::new();
    let mut look = |node: &'a NodeInfo, refusal: &mut Refusal<'a>| {
        match check_node(pod, view, &filters, node, nominations) {
            Ok(()) => feasible.push(node),
            Err((plugin, verdict)) => refusal.nodes.push(NodeVerdict { node, plugin, verdict }),
        }
        feasible.len()
    };
    if let Some((names, plugin)) = &filters.only {
        let mut excluded = total;
        for node in names.iter().filter_map(|name| view.named(name)) {
            look(node, &mut refusal);
            excluded -= 1;
        }
        refusal.excluded = Some((excluded, plugin));
    } else {
        let wanted = enough(total, view.config.percentage_of_nodes_to_score);
        let mut looked = 0;
        while looked < total {
            let node = view.node((*start + looked) % total);
            looked += 1;
            if look(node, &mut refusal) >= wanted {
                break;
            }
        }
        *start = (*start + looked) % total.max(1);
    }
    match feasible.as_slice() {
        [] => Err(refusal),
        [one] => Ok(one.name.clone()),
        many => Ok(best(pod, view, many).name.clone()),
    }
}

/// The total score of every feasible node.
pub fn scores(pod: &PodInfo, view: &View, feasible: &[&NodeInfo]) -> Vec<i64> {
    let mut totals = vec![0; feasible.len()];
    let scoring = |plugin: &&dyn Plugin| plugin.weight() > 0;
    for plugin in PLUGINS.iter().copied().filter(scoring) {
        let Some(scorer) = plugin.pre_score(pod, view, feasible) else { continue };
        let scores = rate(scorer.as_ref(), feasible);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += plugin.weight() * score;
        }
    }
    totals
}

/// One plugin's scores, brought to 0..=100.
fn rate(scorer: &dyn Scorer, feasible: &[&NodeInfo]) -> Vec<i64> {
    let mut scores: Vec<i64> = feasible.iter().map(|node| scorer.score(node)).collect();
    scorer.normalize(&mut scores);
    scores
}

/// The node with the highest total; chance decides between equals.
fn best<'a>(pod: &PodInfo, view: &View, feasible: &[&'a NodeInfo]) -> &'a NodeInfo {
    let totals = scores(pod, view, feasible);
    let highest = totals.iter().copied().max().unwrap_or(0);
    let winners: Vec<&NodeInfo> = feasible
        .iter()
        .zip(&totals)
        .filter(|(_, total)| **total == highest)
        .map(|(node, _)| *node)
        .collect();
    winners[rand::rng().random_range(0..winners.len())]
}
