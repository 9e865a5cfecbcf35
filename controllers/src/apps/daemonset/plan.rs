//! Which Pods to make and which to remove, and the status, as pure functions of what is there.

use super::placement::{self, Fit};
use crate::{
    apps::{history, replicas::nonzero},
    intstr::{self, Round},
    node, pods,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// The new and the old Pod of a node.
type Pair<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Nodes that get a Pod.
    pub create: Vec<String>,
    /// Pods that go.
    pub delete: Vec<Arc<Pod>>,
    /// Those of them that have ended, with their phase.
    pub failed: Vec<(Arc<Pod>, &'static str)>,
}

/// What is there.
pub(crate) struct Situation<'a> {
    set: &'a DaemonSet,
    hash: &'a str,
    now: Timestamp,
    /// Every node with its fit and its Pods, oldest first; also nodes that are gone but have Pods.
    nodes: BTreeMap<String, (Option<Fit>, Vec<Arc<Pod>>)>,
}

impl<'a> Situation<'a> {
    /// Sorts Pods to nodes.
    pub(crate) fn new(
        set: &'a DaemonSet,
        nodes: &[Arc<Node>],
        all: &[Arc<Pod>],
        hash: &'a str,
        now: Timestamp,
    ) -> Self {
        let mut by_node: BTreeMap<String, (Option<Fit>, Vec<Arc<Pod>>)> = nodes
            .iter()
            .map(|one| (node::name(one).to_owned(), (Some(placement::fit(set, one)), Vec::new())))
            .collect();
        for pod in all {
            if let Some(target) = placement::target(pod.spec.as_ref()) {
                by_node.entry(target.to_owned()).or_default().1.push(pod.clone());
            }
        }
        for (_, pods) in by_node.values_mut() {
            pods.sort_by_key(|pod| (pods::created(pod), pod.metadata.name.clone()));
        }
        Self { set, hash, now, nodes: by_node }
    }

    fn is_new(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(history::HASH)).is_some_and(|hash| hash == self.hash)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let min_ready = self.set.spec.min_ready_seconds.unwrap_or(0);
        pods::is_available(pod, min_ready, self.now)
    }

    /// How many nodes should have a Pod.
    fn desired(&self) -> i32 {
        let wanted = self.nodes.values().filter(|(fit, _)| fit.is_some_and(super::should_run));
        i32::try_from(wanted.count()).unwrap_or(i32::MAX)
    }

    /// How many nodes may have two Pods, or none that serves, during an update.
    fn bounds(&self) -> (i32, i32) {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let desired = self.desired();
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let surge = surge.map_or(0, |value| intstr::scaled(value, desired, Round::Up));
        let one = IntOrString::Int(1);
        let missing = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let missing = intstr::scaled(missing.unwrap_or(&one), desired, Round::Up);
        if surge == 0 && missing == 0 { (0, 1) } else { (surge, missing) }
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.set.spec.update_strategy.as_ref();
        strategy.and_then(|one| one.type_.as_deref()) != Some("OnDelete")
    }

    /// Plans the next step.
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        for (name, (fit, pods)) in &self.nodes {
            self.place(name, *fit, pods, &mut plan);
        }
        if plan.create.is_empty() && plan.delete.is_empty() && self.is_rolling() {
            let (surge, missing) = self.bounds();
            if surge == 0 { self.roll(missing, &mut plan) } else { self.surge(surge, &mut plan) }
        }
        plan
    }

    /// One node's Pods.
    fn place(&self, name: &str, fit: Option<Fit>, all: &[Arc<Pod>], plan: &mut Plan) {
        let Some(fit) = fit else {
            // The node is gone. Who was never bound goes at once; who was is the Pod collector's.
            let unbound = all.iter().filter(|pod| pods::node(pod).is_empty());
            plan.delete.extend(unbound.filter(|pod| !pods::is_terminating(pod)).cloned());
            return;
        };
        let alive = all.iter().filter(|pod| !pods::is_terminating(pod));
        match fit {
            Fit::Run if all.is_empty() => plan.create.push(name.to_owned()),
            Fit::Never => plan.delete.extend(alive.cloned()),
            Fit::Run | Fit::Stay => {
                let mut running = Vec::new();
                for pod in alive {
                    match pods::phase(pod) {
                        "Failed" => plan.failed.push((pod.clone(), "Failed")),
                        "Succeeded" => plan.failed.push((pod.clone(), "Succeeded")),
                        _ => {
                            running.push(pod);
                            continue;
                        }
                    }
                    plan.delete.push(pod.clone());
                }
                let surplus = self.surplus(&running);
                plan.delete.extend(surplus.into_iter().cloned());
            }
        }
    }

    /// Which of several running Pods on one node go: all but the oldest, or, with a surge, all but
    /// the oldest of each template, and the old one once the new one serves.
    fn surplus<'b>(&self, running: &[&'b Arc<Pod>]) -> Vec<&'b Arc<Pod>> {
        if running.len() <= 1 {
            return Vec::new();
        }
        if !self.is_rolling() || self.bounds().0 == 0 {
            return running[1..].to_vec();
        }
        let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) =
            running.iter().copied().partition(|pod| self.is_new(pod));
        let mut gone: Vec<&Arc<Pod>> = new.iter().skip(1).copied().collect();
        let served = new.first().is_some_and(|pod| self.is_available(pod));
        gone.extend(old.iter().skip(usize::from(!served)).copied());
        gone
    }

    /// The new and the old Pod of a node; `None` when there are too many to tell.
    fn pair<'b>(&self, all: &'b [Arc<Pod>]) -> Option<Pair<'b>> {
        let (mut new, mut old) = (None, None);
        for pod in all.iter().filter(|pod| !pods::is_terminating(pod)) {
            let place = if self.is_new(pod) { &mut new } else { &mut old };
            if place.replace(pod).is_some() {
                return None;
            }
        }
        Some((new, old))
    }

    fn wanted_nodes(&self) -> impl Iterator<Item = (&String, &Vec<Arc<Pod>>)> {
        let wanted = self.nodes.iter().filter(|(_, (fit, pods))| {
            fit.is_some_and(super::should_run) || fit.is_some() && !pods.is_empty()
        });
        wanted.map(|(name, (_, pods))| (name, pods))
    }

    /// A rolling update that takes the old Pod first.
    fn roll(&self, most: i32, plan: &mut Plan) {
        let mut missing = 0;
        let mut broken = Vec::new();
        let mut candidates = Vec::new();
        for (_, all) in self.wanted_nodes() {
            match self.pair(all) {
                None | Some((None, None) | (Some(_), Some(_))) => missing += 1,
                Some((Some(new), None)) => missing += i32::from(!self.is_available(new)),
                Some((None, Some(old))) if !self.is_available(old) => broken.push(old.clone()),
                Some((None, Some(old))) => candidates.push(old.clone()),
            }
        }
        let room = usize::try_from(most - missing).unwrap_or(0);
        plan.delete.extend(broken);
        plan.delete.extend(candidates.into_iter().take(room));
    }

    /// A rolling update that brings the new Pod first, as long as so many nodes have two.
    fn surge(&self, most: i32, plan: &mut Plan) {
        let mut surging = 0;
        let mut candidates = Vec::new();
        for (name, all) in self.wanted_nodes() {
            match self.pair(all) {
                Some((Some(new), Some(old))) if self.is_available(new) => {
                    plan.delete.push(old.clone());
                }
                None | Some((Some(_), Some(_))) => surging += 1,
                Some((None, None) | (Some(_), None)) => {}
                // Nothing is lost by replacing what does not serve.
                Some((None, Some(old))) if !self.is_available(old) => {
                    plan.create.push(name.clone());
                }
                Some((None, Some(_))) => candidates.push(name.clone()),
            }
        }
        let room = usize::try_from(most - surging).unwrap_or(0);
        plan.create.extend(candidates.into_iter().take(room));
    }

    /// Revisions that no Pod uses, beyond the history limit.
    pub(crate) fn old_revisions(
        &self,
        all: &[Arc<ControllerRevision>],
        current: &ControllerRevision,
    ) -> Vec<Arc<ControllerRevision>> {
        let pods = self.nodes.values().flat_map(|(_, pods)| pods);
        let hashes = pods.filter_map(|pod| pod.metadata.labels.as_ref()?.get(history::HASH));
        let used: HashSet<&str> = hashes.map(String::as_str).collect();
        let limit = self.set.spec.revision_history_limit.unwrap_or(10);
        history::surplus(all, limit, |one| {
            history::name(one) == history::name(current) || used.contains(history::hash_of(one))
        })
    }

    /// The status.
    pub(crate) fn status(&self, set: &DaemonSet) -> DaemonSetStatus {
        let old = set.status.clone().unwrap_or_default();
        let mut status = DaemonSetStatus {
            observed_generation: set.metadata.generation,
            collision_count: old.collision_count,
            conditions: old.conditions,
            ..DaemonSetStatus::default()
        };
        let (mut updated, mut available) = (0, 0);
        for (fit, all) in self.nodes.values() {
            if !fit.is_some_and(super::should_run) {
                status.number_misscheduled += i32::from(fit.is_some() && !all.is_empty());
                continue;
            }
            status.desired_number_scheduled += 1;
            let alive = all.iter().find(|pod| !pods::is_terminating(pod));
            let Some(pod) = alive.or(all.first()) else { continue };
            status.current_number_scheduled += 1;
            let ready = pods::is_ready(pod) && !pods::is_terminating(pod);
            status.number_ready += i32::from(ready);
            available += i32::from(ready && self.is_available(pod));
            updated += i32::from(self.is_new(pod));
        }
        status.updated_number_scheduled = nonzero(updated);
        status.number_available = nonzero(available);
        status.number_unavailable = nonzero(status.desired_number_scheduled - available);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, object, pod};
    use serde_json::{Value, json};

    fn set(strategy: Value) -> DaemonSet {
        object(json!({"metadata": {"name": "d", "generation": 1}, "spec": {"selector": {},
            "template": {"spec": {"containers": []}}, "updateStrategy": strategy}}))
    }

    fn on(name: &str, node: &str, hash: &str, ready: &str) -> Arc<Pod> {
        Arc::new(pod(
            name,
            json!({"metadata": {"labels": {history::HASH: hash}},
            "spec": {"nodeName": node}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}]}}),
        ))
    }

    fn planned(set: &DaemonSet, nodes: &[&str], pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>) {
        let nodes: Vec<Arc<Node>> =
            nodes.iter().map(|one| Arc::new(node(one, json!({})))).collect();
        let plan = Situation::new(set, &nodes, pods, "new", Timestamp::UNIX_EPOCH).plan();
        let gone = plan.delete.iter().map(|pod| pods::name(pod).to_owned()).collect();
        (plan.create, gone)
    }

    #[test]
    fn every_fitting_node_gets_one_pod() {
        let set = set(json!({}));
        let pods = [on("a", "n1", "new", "True"), on("b", "n1", "new", "True")];
        let (create, gone) = planned(&set, &["n1", "n2"], &pods);
        assert_eq!((create, gone), (vec!["n2".to_owned()], vec!["b".to_owned()]));
    }

    #[test]
    fn an_update_replaces_broken_pods_and_as_many_others_as_may_be_missing() {
        let set = set(json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}));
        let all = [
            on("a", "n1", "old", "True"),
            on("b", "n2", "old", "False"),
            on("c", "n3", "old", "True"),
        ];
        let (_, gone) = planned(&set, &["n1", "n2", "n3"], &all);
        assert_eq!(gone, ["b", "a"]);
        let busy = [on("a", "n1", "new", "False"), on("c", "n3", "old", "True")];
        let (_, gone) = planned(&set, &["n1", "n3"], &busy);
        assert_eq!(gone, Vec::<String>::new());
    }

    #[test]
    fn a_surge_brings_the_new_pod_before_the_old_one_goes() {
        let set = set(json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}));
        let old = on("a", "n1", "old", "True");
        let (create, gone) = planned(&set, &["n1"], std::slice::from_ref(&old));
        assert_eq!((create.len(), gone.len()), (1, 0));
        let (create, gone) = planned(&set, &["n1"], &[old.clone(), on("b", "n1", "new", "False")]);
        assert_eq!((create.len(), gone.len()), (0, 0));
        let (_, gone) = planned(&set, &["n1"], &[old, on("b", "n1", "new", "True")]);
        assert_eq!(gone, ["a"]);
    }

    #[test]
    fn ended_pods_are_replaced() {
        let ended = Arc::new(pod(
            "p",
            json!({"spec": {"nodeName": "n1"},
            "status": {"phase": "Failed"}}),
        ));
        let set = set(json!({}));
        let nodes = [Arc::new(node("n1", json!({})))];
        let plan = Situation::new(&set, &nodes, &[ended], "new", Timestamp::UNIX_EPOCH).plan();
        assert_eq!(plan.failed[0].1, "Failed");
        assert_eq!((plan.create.len(), plan.delete.len()), (0, 1));
    }

    #[test]
    fn the_status_counts_nodes() {
        let set = set(json!({}));
        let nodes = [Arc::new(node("n1", json!({}))), Arc::new(node("n2", json!({})))];
        let all = [on("a", "n1", "new", "True")];
        let situation = Situation::new(&set, &nodes, &all, "new", Timestamp::UNIX_EPOCH);
        let shown = serde_json::to_value(situation.status(&set)).expect("json");
        let wanted = json!({"currentNumberScheduled": 1, "desiredNumberScheduled": 2,
            "numberMisscheduled": 0, "numberReady": 1, "numberAvailable": 1,
            "numberUnavailable": 1, "updatedNumberScheduled": 1, "observedGeneration": 1});
        assert_eq!(shown, wanted);
    }
}
