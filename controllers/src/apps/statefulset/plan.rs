//! The next step of a StatefulSet, and its status, as pure functions of what is there.

use super::{super::history, identity};
use crate::{
    apps::nonzero,
    intstr::{self, Round},
    pods,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetStatus},
    core::v1::Pod,
};
use std::{collections::BTreeMap, sync::Arc};

/// The names of the two revisions between which an update goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revisions {
    /// Where it comes from.
    pub current: String,
    /// Where it goes to.
    pub update: String,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Make the Pod of an ordinal.
    Create {
        /// The ordinal.
        ordinal: i32,
        /// From the current revision, not the update's.
        old: bool,
    },
    /// Remove a Pod.
    Delete(Arc<Pod>),
    /// Write a Pod's labels.
    Identify(Box<Pod>),
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The writes, in order.
    pub changes: Vec<Change>,
    /// Pods that stay.
    pub kept: Vec<Arc<Pod>>,
    /// Pods that are to go because the set shrinks.
    pub condemned: Vec<Arc<Pod>>,
    counts: Counts,
    /// The counts without the plan's writes.
    before: Counts,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    replicas: i32,
    ready: i32,
    available: i32,
    current: i32,
    updated: i32,
}

/// The revision that a Pod was made from.
pub(crate) fn revision(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(history::HASH).map(String::as_str)
}

struct Step<'a> {
    set: &'a StatefulSet,
    names: &'a Revisions,
    now: Timestamp,
    plan: Plan,
}

/// Plans the next step.
pub(crate) fn plan(set: &StatefulSet, all: &[Arc<Pod>], names: &Revisions, now: Timestamp) -> Plan {
    let mut step = Step { set, names, now, plan: Plan::default() };
    step.count(all);
    step.plan.before = step.plan.counts.clone();
    let start = set.spec.ordinals.as_ref().and_then(|one| one.start).unwrap_or(0);
    let end = start + set.spec.replicas.unwrap_or(1);
    let mut slots: BTreeMap<i32, Option<Arc<Pod>>> = (start..end).map(|one| (one, None)).collect();
    let mut condemned: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
    for pod in all {
        let Some((_, ordinal)) = identity::split(pods::name(pod)) else { continue };
        match slots.get_mut(&ordinal) {
            Some(slot) => *slot = Some(pod.clone()),
            None => {
                condemned.insert(ordinal, pod.clone());
            }
        }
    }
    step.plan.kept = slots.values().flatten().cloned().collect();
    step.plan.condemned = condemned.values().cloned().collect();
    if step.fill(&slots, start) && step.shrink(&slots, &condemned) {
        step.update(&slots, start);
    }
    step.plan
}

impl Step<'_> {
    fn is_ordered(&self) -> bool {
        self.set.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let min_ready = self.set.spec.min_ready_seconds.unwrap_or(0);
        pods::phase(pod) == "Running" && pods::is_available(pod, min_ready, self.now)
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        self.is_available(pod) && !pods::is_terminating(pod)
    }

    fn count(&mut self, all: &[Arc<Pod>]) {
        let (counts, names) = (&mut self.plan.counts, self.names);
        let min_ready = self.set.spec.min_ready_seconds.unwrap_or(0);
        for pod in all {
            counts.replicas += 1;
            let ready = pods::phase(pod) == "Running" && pods::is_ready(pod);
            counts.ready += i32::from(ready);
            let available = ready && pods::is_available(pod, min_ready, self.now);
            counts.available += i32::from(available);
            if !pods::is_terminating(pod) {
                let of = revision(pod);
                counts.current += i32::from(of == Some(names.current.as_str()));
                counts.updated += i32::from(of == Some(names.update.as_str()));
            }
        }
    }

    fn partition(&self) -> i32 {
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        rolling.and_then(|rolling| rolling.partition).unwrap_or(0)
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.set.spec.update_strategy.as_ref();
        strategy.and_then(|one| one.type_.as_deref()) != Some("OnDelete")
    }

    fn create(&mut self, ordinal: i32, start: i32) {
        let old = self.is_rolling() && ordinal < start + self.partition();
        let (counts, names) = (&mut self.plan.counts, self.names);
        let of = if old { &names.current } else { &names.update };
        counts.replicas += 1;
        counts.current += i32::from(*of == names.current);
        counts.updated += i32::from(*of == names.update);
        self.plan.changes.push(Change::Create { ordinal, old });
    }

    fn delete(&mut self, pod: &Arc<Pod>) {
        let (counts, names) = (&mut self.plan.counts, self.names);
        let of = revision(pod);
        counts.current -= i32::from(of == Some(names.current.as_str()));
        counts.updated -= i32::from(of == Some(names.update.as_str()));
        self.plan.changes.push(Change::Delete(pod.clone()));
    }

    /// Brings every wanted Pod about; whether to go on.
    fn fill(&mut self, slots: &BTreeMap<i32, Option<Arc<Pod>>>, start: i32) -> bool {
        let ordered = self.is_ordered();
        for (ordinal, slot) in slots {
            let Some(pod) = slot else {
                self.create(*ordinal, start);
                if ordered {
                    return false;
                }
                continue;
            };
            if pods::is_finished(pod) {
                if !pods::is_terminating(pod) {
                    self.delete(pod);
                }
                if ordered {
                    return false;
                }
                continue;
            }
            if ordered && !self.is_healthy(pod) {
                return false;
            }
            let mut named = Pod::clone(pod);
            if !pods::is_terminating(pod) && identity::identify(&mut named) {
                self.plan.changes.push(Change::Identify(Box::new(named)));
            }
        }
        true
    }

    /// Removes Pods beyond the wanted number, the highest ordinal first; whether to go on.
    fn shrink(
        &mut self,
        slots: &BTreeMap<i32, Option<Arc<Pod>>>,
        condemned: &BTreeMap<i32, Arc<Pod>>,
    ) -> bool {
        let ordered = self.is_ordered();
        // The first that is not healthy may go before its turn: nothing else could.
        let all = slots.values().flatten().chain(condemned.values().rev());
        let first_unhealthy = all.into_iter().find(|pod| !self.is_healthy(pod)).cloned();
        for pod in condemned.values().rev() {
            if pods::is_terminating(pod) {
                if ordered {
                    return false;
                }
                continue;
            }
            let is_first = first_unhealthy.as_ref().is_some_and(|first| Arc::ptr_eq(first, pod));
            if ordered && !self.is_available(pod) && !is_first {
                return false;
            }
            self.delete(pod);
            if ordered {
                return false;
            }
        }
        true
    }

    /// Replaces Pods of another revision, from the highest ordinal down to the partition.
    fn update(&mut self, slots: &BTreeMap<i32, Option<Arc<Pod>>>, start: i32) {
        if !self.is_rolling() {
            return;
        }
        let least = start + self.partition();
        let strategy = self.set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let total = i32::try_from(slots.len()).unwrap_or(i32::MAX);
        let most = rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .map(|value| intstr::scaled(value, total, Round::Up).max(1));
        let outdated = |pod: &Pod| {
            revision(pod) != Some(self.names.update.as_str()) && !pods::is_terminating(pod)
        };
        let targets = slots.iter().rev().filter(|(ordinal, _)| **ordinal >= least);
        let targets: Vec<&Arc<Pod>> = targets.filter_map(|(_, slot)| slot.as_ref()).collect();
        let mut gone = Vec::new();
        if let Some(most) = most {
            let missing =
                slots.values().filter(|slot| slot.as_ref().is_none_or(|pod| !self.is_healthy(pod)));
            let missing = i32::try_from(missing.count()).unwrap_or(i32::MAX);
            let room = usize::try_from(most - missing).unwrap_or(0);
            gone.extend(targets.into_iter().filter(|pod| outdated(pod)).take(room));
        } else {
            for pod in targets {
                if outdated(pod) {
                    gone.push(pod);
                    break;
                }
                if !self.is_healthy(pod) {
                    break;
                }
            }
        }
        for pod in gone {
            self.delete(pod);
        }
    }
}

impl Plan {
    /// The status once the plan is carried out, or after it could not be.
    pub(crate) fn status(
        &self,
        set: &StatefulSet,
        names: &Revisions,
        done: bool,
    ) -> StatefulSetStatus {
        let counts = if done { &self.counts } else { &self.before };
        let old = set.status.clone().unwrap_or_default();
        let mut status = StatefulSetStatus {
            observed_generation: set.metadata.generation,
            replicas: counts.replicas,
            ready_replicas: nonzero(counts.ready),
            available_replicas: Some(counts.available),
            current_replicas: nonzero(counts.current.max(0)),
            updated_replicas: nonzero(counts.updated.max(0)),
            current_revision: Some(names.current.clone()),
            update_revision: Some(names.update.clone()),
            collision_count: Some(old.collision_count.unwrap_or(0)),
            conditions: old.conditions,
        };
        let strategy = set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|one| one.type_.as_deref()) != Some("OnDelete");
        let all_new = counts.updated == counts.replicas && counts.ready == counts.replicas;
        if rolling && all_new {
            status.current_revision.clone_from(&status.update_revision);
            status.current_replicas = status.updated_replicas;
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{merge, object, pod};
    use serde_json::{Value, json};

    fn set(spec: Value) -> StatefulSet {
        let mut value = json!({"metadata": {"name": "s"}, "spec": {"replicas": 3, "selector": {},
            "template": {"spec": {"containers": []}}}});
        merge(&mut value["spec"], spec);
        object(value)
    }

    fn one(ordinal: i32, revision: &str, ready: bool) -> Arc<Pod> {
        let name = format!("s-{ordinal}");
        let mut pod = pod(
            &name,
            json!({"metadata": {"labels": {history::HASH: revision}},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": if ready { "True" } else { "False" }}]}}),
        );
        identity::identify(&mut pod);
        Arc::new(pod)
    }

    fn changes(set: &StatefulSet, all: &[Arc<Pod>]) -> Vec<String> {
        let names = Revisions { current: "old".into(), update: "new".into() };
        let plan = plan(set, all, &names, Timestamp::UNIX_EPOCH);
        let show = |change: &Change| match change {
            Change::Create { ordinal, old } => format!("+{ordinal}{}", if *old { "o" } else { "" }),
            Change::Delete(pod) => format!("-{}", pods::name(pod)),
            Change::Identify(pod) => format!("={}", pods::name(pod)),
        };
        plan.changes.iter().map(show).collect()
    }

    #[test]
    fn ordered_pods_come_one_after_the_other_and_parallel_ones_together() {
        let ordered = set(json!({}));
        assert_eq!(changes(&ordered, &[]), ["+0"]);
        assert_eq!(changes(&ordered, &[one(0, "new", false)]), Vec::<String>::new());
        assert_eq!(changes(&ordered, &[one(0, "new", true)]), ["+1"]);
        let parallel = set(json!({"podManagementPolicy": "Parallel"}));
        assert_eq!(changes(&parallel, &[]), ["+0", "+1", "+2"]);
    }

    #[test]
    fn scaling_down_goes_from_the_end_and_waits_for_unready_pods() {
        let small = set(json!({"replicas": 1}));
        let all = |ready| [one(0, "new", ready), one(1, "new", true), one(2, "new", true)];
        assert_eq!(changes(&small, &all(true)), ["-s-2"]);
        assert_eq!(changes(&small, &all(false)), Vec::<String>::new());
    }

    #[test]
    fn updates_go_from_the_end_to_the_partition_one_at_a_time() {
        let plain = set(json!({}));
        let all =
            |last: &str, ready| [one(0, "old", true), one(1, "old", true), one(2, last, ready)];
        assert_eq!(changes(&plain, &all("old", true)), ["-s-2"]);
        assert_eq!(changes(&plain, &all("new", false)), Vec::<String>::new());
        assert_eq!(changes(&plain, &all("new", true)), ["-s-1"]);
        let strategy = json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}});
        assert_eq!(changes(&set(strategy.clone()), &all("new", true)), Vec::<String>::new());
        assert_eq!(changes(&set(strategy), &all("old", true)[1..]), ["+0o"]);
        let two = json!({"podManagementPolicy": "Parallel",
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}});
        assert_eq!(changes(&set(two), &all("old", true)), ["-s-2", "-s-1"]);
    }

    #[test]
    fn failed_pods_are_made_again() {
        let ended = Arc::new(pod("s-0", json!({"status": {"phase": "Failed"}})));
        assert_eq!(changes(&set(json!({})), &[ended]), ["-s-0"]);
    }

    #[test]
    fn an_update_is_complete_when_all_pods_are_new_and_ready() {
        let names = Revisions { current: "old".into(), update: "new".into() };
        let set = set(json!({"replicas": 1}));
        let done = plan(&set, &[one(0, "new", true)], &names, Timestamp::UNIX_EPOCH);
        let status = done.status(&set, &names, true);
        assert_eq!(status.current_revision.as_deref(), Some("new"));
        assert_eq!(status.current_replicas, Some(1));
        let going = plan(&set, &[one(0, "new", false)], &names, Timestamp::UNIX_EPOCH);
        assert_eq!(going.status(&set, &names, true).current_revision.as_deref(), Some("old"));
    }
}
