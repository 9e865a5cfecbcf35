//! Makes room for a Pod by choosing less important Pods to end, as few and as unimportant as
//! possible.
//!
//! Works by "what if" views: a node without its less important Pods, to which they are given back
//! one by one, the most important first, as long as the new Pod still fits. Those that can't be
//! given back are the victims.

use crate::{
    cache::Nominations,
    cycle::{Filters, check_node},
    diagnosis::{self, Refusal},
    framework::{Reason, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
    selector::Selector,
};
use jiff::Timestamp;
use std::{cmp::Reverse, sync::Arc};

/// At least so many nodes are tried in a large cluster.
const MIN_CANDIDATES: usize = 100;

/// Removing Pods can't cure what a node was refused for.
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

/// How many Pods of a group may still be disturbed.
pub struct Budget {
    /// `metadata.namespace`.
    pub namespace: String,
    /// Whom it protects.
    pub selector: Selector,
    /// `status.disruptionsAllowed`.
    pub allowed: i32,
}

/// What preemption would do.
pub enum Decision {
    /// Nothing; the sentence says why.
    No(String),
    /// End these Pods on this node.
    Yes {
        /// The node.
        node: String,
        /// Whom to end.
        victims: Vec<Arc<PodInfo>>,
    },
}

/// Room on one node and its price.
struct Candidate {
    node: String,
    victims: Vec<Arc<PodInfo>>,
    broken_budgets: usize,
}

/// Looks for room on the nodes that were refused for reasons that removing Pods could cure.
pub fn decide(
    pod: &PodInfo,
    view: &View,
    refusal: &Refusal,
    nominations: &Nominations,
    budgets: &[Budget],
) -> Decision {
    if refusal.before.is_some() {
        return Decision::No("not found".into());
    }
    let spec = pod.pod.spec.as_ref();
    if spec.and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
        return Decision::No("preemption: not eligible due to preemptionPolicy=Never.".into());
    }
    if victims_still_end(pod, view) {
        let text = "preemption: not eligible due to a terminating pod on the nominated node.";
        return Decision::No(text.into());
    }
    let limit = MIN_CANDIDATES.max(view.total() / 10);
    let mut candidates = Vec::new();
    let excluded = refusal.excluded.map_or(0, |(count, _)| count);
    let mut reasons: Vec<Reason> = vec![NOT_HELPFUL.into(); excluded];
    for one in &refusal.nodes {
        if !matches!(one.verdict, Verdict::Unschedulable(_)) {
            reasons.push(NOT_HELPFUL.into());
            continue;
        }
        if candidates.len() >= limit {
            break;
        }
        match room(pod, view, one.node, nominations, budgets) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => reasons.extend(why),
        }
    }
    match cheapest(candidates) {
        Some(found) => Decision::Yes { node: found.node, victims: found.victims },
        None => {
            let counted = diagnosis::count(refusal.total, reasons.iter().map(AsRef::as_ref));
            Decision::No(format!("preemption: {counted}"))
        }
    }
}

/// The end of the sentence when room was found.
pub fn found(node: &str, victims: usize) -> String {
    format!(
        "preemption: found a potential placement for pod on node {node}, preempting {victims} \
         victims"
    )
}

/// Whether earlier victims of this Pod are still ending.
fn victims_still_end(pod: &PodInfo, view: &View) -> bool {
    let Some(nominated) = pod.nominated_node() else { return false };
    view.named(nominated).is_some_and(|node| {
        node.pods
            .iter()
            .any(|one| one.terminating && one.priority < pod.priority && was_preempted(one))
    })
}

/// Whether a Pod is ending because of preemption.
fn was_preempted(pod: &PodInfo) -> bool {
    let conditions = pod.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| {
        one.type_ == "DisruptionTarget"
            && one.status == "True"
            && one.reason.as_deref() == Some("PreemptionByScheduler")
    })
}

/// The smallest set of victims on a node, or why there is none.
fn room(
    pod: &PodInfo,
    view: &View,
    node: &NodeInfo,
    nominations: &Nominations,
    budgets: &[Budget],
) -> Result<Candidate, Vec<Reason>> {
    let nobody = || Err(vec!["No preemption victims found for incoming pod".into()]);
    if node.lowest_priority >= pod.priority {
        return nobody();
    }
    let mut lesser: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|one| one.priority < pod.priority).cloned().collect();
    if lesser.is_empty() {
        return nobody();
    }
    let mut without = node.clone();
    for one in &lesser {
        without.remove_pod(&one.uid);
    }
    let fits = |what_if: &NodeInfo| {
        let view = view.with(node, what_if);
        let filters = Filters::prepare(pod, &view)?;
        check_node(pod, &view, &filters, what_if, nominations)
    };
    if let Err((_, verdict)) = fits(&without) {
        return Err(verdict.reasons().to_vec());
    }
    lesser.sort_by_cached_key(|one| importance(one));
    let (guarded, free) = split(lesser, budgets);
    let mut victims = Vec::new();
    let mut broken_budgets = 0;
    let order =
        guarded.into_iter().map(|one| (one, true)).chain(free.into_iter().map(|one| (one, false)));
    for (one, guarded) in order {
        without.add_pod(one.clone());
        if fits(&without).is_err() {
            without.remove_pod(&one.uid);
            broken_budgets += usize::from(guarded);
            victims.push(one);
        }
    }
    victims.sort_by_key(|one| importance(one));
    Ok(Candidate { node: node.name.clone(), victims, broken_budgets })
}

/// Sorts the most important Pod first: priority, then age.
fn importance(pod: &PodInfo) -> (Reverse<i32>, Option<Timestamp>, String) {
    (Reverse(pod.priority), start_time(pod), pod.uid.clone())
}

/// When a Pod was started.
fn start_time(pod: &PodInfo) -> Option<Timestamp> {
    let status = pod.pod.status.as_ref()?;
    status.start_time.as_ref().map(|time| time.0)
}

/// Parts the Pods into those whose end would break a budget and the others.
fn split(pods: Vec<Arc<PodInfo>>, budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<i32> = budgets.iter().map(|budget| budget.allowed).collect();
    pods.into_iter().partition(|pod| {
        let mut breaks = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            let mine = budget.namespace == pod.namespace
                && budget.selector.matches(pod.pod.metadata.labels.as_ref());
            if mine {
                *left -= 1;
                breaks |= *left < 0;
            }
        }
        breaks
    })
}

/// The candidate that hurts least.
fn cheapest(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|one| {
        let priorities = || one.victims.iter().map(|victim| i64::from(victim.priority));
        let highest = priorities().max().unwrap_or(i64::MIN);
        let sum: i64 = priorities().map(|priority| priority - i64::from(i32::MIN)).sum();
        let most_important =
            one.victims.iter().filter(|victim| i64::from(victim.priority) == highest);
        let earliest = most_important.filter_map(|victim| start_time(victim)).min();
        (one.broken_budgets, highest, sum, one.victims.len(), Reverse(earliest))
    })
}
