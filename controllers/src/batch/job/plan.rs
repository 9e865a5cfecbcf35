//! The next step of a Job, as a pure function of what is there.

mod run;

use super::{
    indexes, is, is_tracked, pod,
    pod::Slot,
    policy::{self, Meaning},
};
use crate::{apps::nonzero, ctx::Action, pods};
use client::events;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The status to write before finalizers go, if any Pod has newly ended.
    pub uncounted: Option<UncountedTerminatedPods>,
    /// The indexes to write with it, in Indexed Jobs.
    pub completed_indexes: Option<String>,
    /// When the Job started.
    pub start_time: Option<Time>,
    /// Pods that lose their finalizer.
    pub strip: Vec<Arc<Pod>>,
    /// Pods to make.
    pub create: Vec<Slot>,
    /// Pods to remove.
    pub delete: Vec<Arc<Pod>>,
    /// Removed Pods don't count as failed.
    pub strip_before_delete: bool,
    /// What to tell.
    pub events: Vec<(events::Type, &'static str, String)>,
    /// When to look again.
    pub next: Action,
    /// The status, without the Pods that are to be made.
    status: JobStatus,
}

impl Plan {
    /// The status once so many Pods were made.
    pub(crate) fn status(&self, made: usize) -> JobStatus {
        let mut status = self.status.clone();
        let made = i32::try_from(made).unwrap_or(i32::MAX);
        status.active = nonzero(status.active.unwrap_or(0) + made);
        status
    }
}

/// Why a Job ends.
#[derive(Clone, Debug, PartialEq)]
struct End {
    success: bool,
    reason: String,
    message: String,
}

/// Plans the next step.
pub(crate) fn plan(job: &Job, all: &[Arc<Pod>], now: Timestamp) -> Plan {
    let Some(spec) = &job.spec else { return Plan::default() };
    let mut step = Step::new(job, spec, all, now);
    step.account();
    let end = step.end();
    if job.metadata.deletion_timestamp.is_some() {
        step.finish_status();
        return step.plan;
    }
    match end {
        Some(end) => step.finish(end),
        None if spec.suspend == Some(true) => step.suspend(),
        None => step.run(),
    }
    step.plan
}

struct Step<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    now: Timestamp,
    all: &'a [Arc<Pod>],
    active: Vec<Arc<Pod>>,
    plan: Plan,
    status: JobStatus,
    /// Succeeded indexes.
    done: BTreeSet<i32>,
    /// Indexes that failed for good.
    failed_indexes: BTreeSet<i32>,
    /// How often each index has failed.
    index_failures: BTreeMap<i32, i32>,
    /// A rule of the failure policy ends the Job.
    verdict: Option<String>,
    succeeded: i32,
    failed: i32,
}

impl<'a> Step<'a> {
    fn new(job: &'a Job, spec: &'a JobSpec, all: &'a [Arc<Pod>], now: Timestamp) -> Self {
        let active = all.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        let status = job.status.clone().unwrap_or_default();
        Self {
            job,
            spec,
            now,
            all,
            active,
            plan: Plan::default(),
            done: BTreeSet::new(),
            failed_indexes: BTreeSet::new(),
            index_failures: BTreeMap::new(),
            verdict: None,
            succeeded: status.succeeded.unwrap_or(0),
            failed: status.failed.unwrap_or(0),
            status,
        }
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(0)
    }

    /// A Pod that is on its way out counts as failed only once it has ended.
    fn waits_for_phase(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
            || self.spec.pod_failure_policy.is_some()
    }

    fn has_failed(&self, pod: &Pod) -> bool {
        let leaving = pods::is_terminating(pod) && pods::phase(pod) != "Succeeded";
        pods::phase(pod) == "Failed" || leaving && !self.waits_for_phase()
    }

    /// Counts Pods that have ended since the last time.
    fn account(&mut self) {
        let noted = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let mut good: BTreeSet<String> = noted.succeeded.into_iter().flatten().collect();
        let mut bad: BTreeSet<String> = noted.failed.into_iter().flatten().collect();
        let completions = self.completions();
        if self.is_indexed() {
            let text = self.status.completed_indexes.clone().unwrap_or_default();
            self.done = indexes::parse(&text, completions);
            let text = self.status.failed_indexes.clone().unwrap_or_default();
            self.failed_indexes = indexes::parse(&text, completions);
        }
        let mut new = false;
        for pod in self.all {
            if pods::phase(pod) == "Succeeded" && is_tracked(pod) {
                new |= self.succeed(pod, &mut good);
            } else if self.has_failed(pod) {
                new |= self.fail(pod, &mut bad);
            }
        }
        self.succeeded += i32::try_from(good.len()).unwrap_or(i32::MAX);
        self.failed += i32::try_from(bad.len()).unwrap_or(i32::MAX);
        if self.is_indexed() {
            self.succeeded = i32::try_from(self.done.len()).unwrap_or(i32::MAX);
            self.plan.completed_indexes = Some(indexes::format(&self.done));
        }
        if new {
            let list = |all: BTreeSet<String>| (!all.is_empty()).then(|| all.into_iter().collect());
            self.plan.uncounted =
                Some(UncountedTerminatedPods { succeeded: list(good), failed: list(bad) });
        }
    }

    fn succeed(&mut self, pod: &Arc<Pod>, good: &mut BTreeSet<String>) -> bool {
        self.plan.strip.push(pod.clone());
        if !self.is_indexed() {
            return good.insert(pod.metadata.uid.clone().unwrap_or_default());
        }
        let index = pod::index(pod).filter(|index| (0..self.completions()).contains(index));
        index.is_some_and(|index| self.done.insert(index))
    }

    fn fail(&mut self, pod: &Arc<Pod>, bad: &mut BTreeSet<String>) -> bool {
        let tracked = is_tracked(pod);
        let meaning = if pods::phase(pod) == "Failed" {
            policy::meaning(self.spec, pod)
        } else {
            Meaning::Count
        };
        // Pods that go because the Job has failed say nothing about their index.
        if let Some(limit) = self.spec.backoff_limit_per_index
            && !is(self.job, "FailureTarget")
            && let Some(index) = pod::index(pod)
        {
            let before = pod::failures(pod) + i32::from(meaning != Meaning::Ignore);
            let count = self.index_failures.entry(index).or_default();
            *count = (*count).max(before);
            if *count > limit || meaning == Meaning::FailIndex {
                self.failed_indexes.insert(index);
            }
        }
        if let (Meaning::FailJob(message), true) = (&meaning, tracked) {
            self.verdict.get_or_insert_with(|| message.clone());
        }
        if !tracked {
            return false;
        }
        self.plan.strip.push(pod.clone());
        meaning != Meaning::Ignore && bad.insert(pod.metadata.uid.clone().unwrap_or_default())
    }

    /// Whether and why the Job ends. What was decided once stays.
    fn end(&self) -> Option<End> {
        let decided = self.status.conditions.iter().flatten().find(|one| {
            one.status == "True"
                && matches!(one.type_.as_str(), "FailureTarget" | "SuccessCriteriaMet")
        });
        if let Some(one) = decided {
            return Some(End {
                success: one.type_ == "SuccessCriteriaMet",
                reason: one.reason.clone().unwrap_or_default(),
                message: one.message.clone().unwrap_or_default(),
            });
        }
        let end = |success: bool, reason: &str, message: &str| {
            Some(End { success, reason: reason.into(), message: message.into() })
        };
        if let Some(message) = &self.verdict {
            return end(false, "PodFailurePolicy", message);
        }
        if self.is_past_limit() {
            let message = "Job has reached the specified backoff limit";
            return end(false, "BackoffLimitExceeded", message);
        }
        if self.deadline_left().is_some_and(|left| left.is_zero()) {
            let message = "Job was active longer than specified deadline";
            return end(false, "DeadlineExceeded", message);
        }
        let failed = i32::try_from(self.failed_indexes.len()).unwrap_or(i32::MAX);
        if self.spec.max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return end(false, "MaxFailedIndexesExceeded", message);
        }
        if let Some(rule) = self.success_rule() {
            return end(true, "SuccessPolicy", &format!("Matched rules at index {rule}"));
        }
        if self.is_indexed() && failed > 0 && self.succeeded + failed >= self.completions() {
            return end(false, "FailedIndexes", "Job has failed indexes");
        }
        let reached = match self.spec.completions {
            None => self.succeeded > 0 && self.active.is_empty(),
            Some(completions) => self.succeeded >= completions,
        };
        let message = "Reached expected number of succeeded pods";
        if reached { end(true, "CompletionsReached", message) } else { None }
    }

    fn is_past_limit(&self) -> bool {
        let limit = self.spec.backoff_limit.unwrap_or(6);
        if self.failed > limit {
            return true;
        }
        let policy =
            self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        if policy != Some("OnFailure") {
            return false;
        }
        let restarts: i32 = self
            .active
            .iter()
            .filter_map(|pod| pod.status.as_ref())
            .flat_map(|status| {
                status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
            })
            .map(|one| one.restart_count)
            .sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    fn deadline_left(&self) -> Option<Duration> {
        let seconds = self.spec.active_deadline_seconds?;
        if self.spec.suspend == Some(true) {
            return None;
        }
        let start = self.status.start_time.as_ref()?.0;
        let left = SignedDuration::from_secs(seconds) - self.now.duration_since(start);
        Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    /// The first rule of the success policy that is met.
    fn success_rule(&self) -> Option<usize> {
        let rules = &self.spec.success_policy.as_ref().filter(|_| self.is_indexed())?.rules;
        rules.iter().position(|rule| {
            let wanted = rule.succeeded_indexes.as_deref();
            let wanted = wanted.map(|text| indexes::parse(text, self.completions()));
            let met = match &wanted {
                Some(wanted) => self.done.intersection(wanted).count(),
                None => self.done.len(),
            };
            let enough = match (rule.succeeded_count, &wanted) {
                (Some(count), _) => usize::try_from(count).unwrap_or(0),
                (None, Some(wanted)) => wanted.len(),
                (None, None) => usize::MAX,
            };
            met >= enough
        })
    }

    /// The Job ends: remaining Pods go, and once they are gone the last condition comes.
    fn finish(&mut self, end: End) {
        self.start();
        self.plan.delete.clone_from(&self.active);
        self.plan.strip_before_delete = end.success;
        let (first, last) = if end.success {
            ("SuccessCriteriaMet", "Complete")
        } else {
            ("FailureTarget", "Failed")
        };
        self.set_condition(first, "True", &end.reason, &end.message);
        let gone = self.active.is_empty() && self.terminating() == 0;
        self.active.clear();
        self.finish_status();
        if gone {
            self.set_condition(last, "True", &end.reason, &end.message);
            if end.success {
                self.plan.status.completion_time = Some(Time(self.now));
                self.tell(events::Type::Normal, "Completed", "Job completed");
            } else {
                let reason = reason_of_event(&end.reason);
                self.tell(events::Type::Warning, reason, &end.message);
            }
        }
        self.plan.status.conditions.clone_from(&self.status.conditions);
    }

    fn tell(&mut self, kind: events::Type, reason: &'static str, note: &str) {
        self.plan.events.push((kind, reason, note.to_owned()));
    }

    /// The Job stands still.
    fn suspend(&mut self) {
        self.plan.delete.clone_from(&self.active);
        self.plan.strip_before_delete = true;
        self.active.clear();
        if !is(self.job, "Suspended") {
            self.set_condition("Suspended", "True", "JobSuspended", "Job suspended");
            self.tell(events::Type::Normal, "Suspended", "Job suspended");
        }
        self.status.start_time = None;
        self.finish_status();
    }

    fn start(&mut self) {
        if self.status.start_time.is_none() && self.spec.suspend != Some(true) {
            self.status.start_time = Some(Time(self.now));
        }
        self.plan.start_time.clone_from(&self.status.start_time);
    }

    fn terminating(&self) -> i32 {
        let leaving = |pod: &&Arc<Pod>| pods::is_terminating(pod) && !pods::is_finished(pod);
        i32::try_from(self.all.iter().filter(leaving).count()).unwrap_or(i32::MAX)
    }

    fn finish_status(&mut self) {
        let ready = self.active.iter().filter(|pod| pods::is_ready(pod)).count();
        let text = indexes::format(&self.failed_indexes);
        let done = self.plan.completed_indexes.clone().filter(|text| !text.is_empty());
        self.plan.status = JobStatus {
            active: i32::try_from(self.active.len()).ok(),
            ready: i32::try_from(ready).ok(),
            terminating: Some(self.terminating()),
            succeeded: nonzero(self.succeeded),
            failed: nonzero(self.failed),
            completed_indexes: done,
            failed_indexes: self.spec.backoff_limit_per_index.map(|_| text),
            uncounted_terminated_pods: Some(UncountedTerminatedPods::default()),
            start_time: self.status.start_time.clone(),
            completion_time: self.status.completion_time.clone(),
            conditions: self.status.conditions.clone(),
        };
    }

    fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let all = self.status.conditions.get_or_insert_default();
        if all.iter().any(|one| one.type_ == kind && one.status == status) {
            return;
        }
        let new = JobCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        };
        match all.iter_mut().find(|one| one.type_ == kind) {
            Some(old) => *old = new,
            None => all.push(new),
        }
    }
}

/// Reasons of events are fixed words.
fn reason_of_event(reason: &str) -> &'static str {
    match reason {
        "PodFailurePolicy" => "PodFailurePolicy",
        "DeadlineExceeded" => "DeadlineExceeded",
        "MaxFailedIndexesExceeded" => "MaxFailedIndexesExceeded",
        "FailedIndexes" => "FailedIndexes",
        _ => "BackoffLimitExceeded",
    }
}

#[cfg(test)]
mod tests;
