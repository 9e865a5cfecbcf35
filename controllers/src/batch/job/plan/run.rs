//! A Job that goes on: which Pods it lacks, which are too many, and how long it waits after
//! failures.

use super::{Meaning, Slot, Step, is, pod, policy};
use crate::{ctx::Action, pods};
use client::events;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Wait after the first failure; it doubles with each further one.
const DELAY: i64 = 10;
/// Longest wait.
const MOST_DELAY: i64 = 600;
/// Most Pods made in one go.
const BURST: usize = 500;

impl Step<'_> {
    /// The Job runs: the right number of Pods.
    pub(super) fn run(&mut self) {
        if is(self.job, "Suspended") {
            self.set_condition("Suspended", "False", "JobResumed", "Job resumed");
            self.tell(events::Type::Normal, "Resumed", "Job resumed");
            self.status.start_time = Some(Time(self.now));
        }
        self.start();
        if let Some(left) = self.deadline_left() {
            self.plan.next = self.plan.next.sooner(Action::After(left + Duration::from_millis(5)));
        }
        let active = i32::try_from(self.active.len()).unwrap_or(i32::MAX);
        let parallelism = self.spec.parallelism.unwrap_or(1);
        let wanted = match self.spec.completions {
            None if self.succeeded > 0 => active.min(parallelism),
            None => parallelism,
            Some(completions) => {
                let failed = i32::try_from(self.failed_indexes.len()).unwrap_or(i32::MAX);
                (completions - self.succeeded - failed).clamp(0, parallelism)
            }
        };
        self.remove(wanted);
        let active = i32::try_from(self.active.len()).unwrap_or(i32::MAX);
        let leaving = if self.waits_for_phase() { self.terminating() } else { 0 };
        let missing = usize::try_from(wanted - active - leaving).unwrap_or(0);
        if missing > 0 {
            self.create(missing.min(BURST));
        }
        self.finish_status();
    }

    /// Removes Pods that are too many: doubles and high indexes first, then those of least use.
    fn remove(&mut self, wanted: i32) {
        let now = self.now;
        let wanted = usize::try_from(wanted).unwrap_or(0);
        let mut gone: Vec<Arc<Pod>> = Vec::new();
        let mut order = self.active.clone();
        order.sort_by(|a, b| pods::deletion_order((a, 0), (b, 0), now));
        if self.is_indexed() {
            let mut by_index: BTreeMap<i32, Vec<Arc<Pod>>> = BTreeMap::new();
            for pod in order {
                let index = pod::index(&pod).unwrap_or(i32::MAX);
                by_index.entry(index).or_default().push(pod);
            }
            let mut kept = Vec::new();
            for (index, mut pods) in by_index {
                let wrong = index >= self.completions()
                    || self.done.contains(&index)
                    || self.failed_indexes.contains(&index);
                if !wrong {
                    kept.extend(pods.pop());
                }
                gone.extend(pods);
            }
            gone.extend(kept.drain(wanted.min(kept.len())..));
        } else {
            let surplus = order.len().saturating_sub(wanted);
            gone.extend(order.into_iter().take(surplus));
        }
        self.active.retain(|pod| !gone.iter().any(|one| Arc::ptr_eq(one, pod)));
        self.plan.delete = gone;
        self.plan.strip_before_delete = true;
    }

    fn create(&mut self, number: usize) {
        if !self.is_indexed() {
            let wait = self.delay_of(
                self.all.iter().filter(|pod| pods::is_finished(pod) || self.has_failed(pod)),
            );
            match wait {
                Some(wait) => self.plan.next = self.plan.next.sooner(Action::After(wait)),
                None => self.plan.create = vec![Slot::default(); number],
            }
            return;
        }
        let busy: BTreeSet<i32> = self
            .all
            .iter()
            .filter(|pod| {
                pods::is_active(pod)
                    || self.waits_for_phase()
                        && pods::is_terminating(pod)
                        && !pods::is_finished(pod)
            })
            .filter_map(|pod| pod::index(pod))
            .collect();
        let per_index = self.spec.backoff_limit_per_index.is_some();
        let common = if per_index { None } else { self.delay_of(self.all.iter()) };
        if let Some(wait) = common {
            self.plan.next = self.plan.next.sooner(Action::After(wait));
            return;
        }
        let free = (0..self.completions()).filter(|index| {
            !busy.contains(index)
                && !self.done.contains(index)
                && !self.failed_indexes.contains(index)
        });
        for index in free.collect::<Vec<_>>() {
            if self.plan.create.len() == number {
                break;
            }
            let failures = self.index_failures.get(&index).copied().unwrap_or(0);
            if per_index {
                let own = self.all.iter().filter(|pod| pod::index(pod) == Some(index));
                if let Some(wait) = self.delay_of(own) {
                    self.plan.next = self.plan.next.sooner(Action::After(wait));
                    continue;
                }
            }
            let failures = per_index.then_some(failures);
            self.plan.create.push(Slot { index: Some(index), failures });
        }
    }

    /// How long to wait after the failures since the last success; `None` when no longer.
    fn delay_of<'b>(&self, all: impl Iterator<Item = &'b Arc<Pod>>) -> Option<Duration> {
        let (mut failures, mut last_success) = (Vec::new(), None);
        for pod in all {
            let ended = ended_at(pod);
            if pods::phase(pod) == "Succeeded" {
                last_success = last_success.max(ended);
            } else if self.has_failed(pod) && policy::meaning(self.spec, pod) != Meaning::Ignore {
                failures.extend(ended);
            }
        }
        failures.retain(|ended| last_success.is_none_or(|success| *ended > success));
        let last = failures.iter().max().copied()?;
        let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(6);
        let seconds = (DELAY << doublings).min(MOST_DELAY);
        let left = SignedDuration::from_secs(seconds) - self.now.duration_since(last);
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }
}

/// When a Pod ended: its last container's end, or when it was told to go.
fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ends = all.filter_map(|one| {
        let end = one.state.as_ref()?.terminated.as_ref()?;
        end.finished_at.as_ref().map(|time| time.0)
    });
    let told = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let ready = pods::condition(pod, "Ready").and_then(|one| one.last_transition_time.as_ref());
    ends.max().or(told).or(ready.map(|time| time.0)).or(pods::created(pod))
}
