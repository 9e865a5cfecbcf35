//! Jobs step by step.

use super::*;
use crate::testing::{merge, object};
use serde_json::{Value, json};

const NOW: &str = "2026-06-01T00:00:00Z";

fn job(spec: Value) -> Job {
    let mut value = json!({"metadata": {"name": "j", "namespace": "ns", "uid": "ju"},
        "spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}},
            "backoffLimit": 6, "parallelism": 1, "completions": 1}});
    merge(&mut value["spec"], spec);
    object(value)
}

fn one(name: &str, over: Value) -> Arc<Pod> {
    let mut value = json!({"metadata": {"finalizers": [super::super::TRACKING]},
        "status": {"phase": "Pending"}});
    merge(&mut value, over);
    Arc::new(crate::testing::pod(name, value))
}

fn ended(name: &str, phase: &str) -> Arc<Pod> {
    one(
        name,
        json!({"status": {"phase": phase, "containerStatuses": [
        {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}}]}}),
    )
}

fn step(job: &Job, all: &[Arc<Pod>]) -> Plan {
    plan(job, all, NOW.parse().expect("a time"))
}

fn conditions(status: &JobStatus) -> Vec<&str> {
    status.conditions.iter().flatten().map(|one| one.type_.as_str()).collect()
}

#[test]
fn a_job_makes_its_pods_and_completes_with_them() {
    let mut job = job(json!({}));
    let first = step(&job, &[]);
    assert_eq!(first.create, [Slot::default()]);
    let status = first.status(1);
    assert_eq!(status.active, Some(1));
    job.status = Some(status);
    let second = step(&job, &[ended("p", "Succeeded")]);
    assert_eq!(second.strip.len(), 1);
    let noted = second.uncounted.clone().expect("noted");
    assert_eq!(noted.succeeded, Some(vec!["uid-p".to_owned()]));
    let status = second.status(0);
    assert_eq!(conditions(&status), ["SuccessCriteriaMet", "Complete"]);
    assert_eq!((status.succeeded, status.active), (Some(1), None));
    assert_eq!(status.uncounted_terminated_pods, Some(UncountedTerminatedPods::default()));
}

#[test]
fn a_pod_that_was_noted_before_a_crash_is_counted_once() {
    let mut job = job(json!({"completions": 2}));
    job.status = Some(object(json!({"uncountedTerminatedPods": {"succeeded": ["uid-p"]}})));
    let again = step(&job, &[ended("p", "Succeeded")]);
    assert!(again.uncounted.is_none());
    assert_eq!(again.status(0).succeeded, Some(1));
    let gone = step(&job, &[]);
    assert_eq!(gone.status(0).succeeded, Some(1));
}

#[test]
fn too_many_failures_end_a_job_and_its_other_pods() {
    let job = job(json!({"backoffLimit": 0, "parallelism": 2, "completions": 2}));
    let running = one("b", json!({}));
    let plan = step(&job, &[ended("a", "Failed"), running]);
    assert_eq!(plan.delete.len(), 1);
    assert!(!plan.strip_before_delete);
    assert_eq!(conditions(&plan.status(0)), ["FailureTarget"]);
    let mut job = job;
    job.status = Some(plan.status(0));
    let leaving = one("b", json!({"metadata": {"deletionTimestamp": NOW}}));
    let plan = step(&job, &[leaving]);
    assert_eq!(plan.status(0).failed, Some(2));
    job.status = Some(plan.status(0));
    let last = step(&job, &[]);
    assert_eq!(conditions(&last.status(0)), ["FailureTarget", "Failed"]);
}

#[test]
fn a_failed_pod_is_replaced_after_a_growing_delay() {
    let job = job(json!({}));
    let recent = |name: &str| {
        one(
            name,
            json!({"status": {"phase": "Failed", "containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "finishedAt": NOW}}}]}}),
        )
    };
    let plan = step(&job, &[recent("a"), recent("b")]);
    assert!(plan.create.is_empty());
    assert_eq!(plan.next, Action::After(Duration::from_secs(20)));
    assert_eq!(step(&job, &[ended("a", "Failed")]).create.len(), 1);
}

#[test]
fn indexed_jobs_count_indexes() {
    let indexed = |name: &str, index: i32, phase: &str| {
        let mut pod = (*ended(name, phase)).clone();
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(pod::INDEX.into(), index.to_string());
        Arc::new(pod)
    };
    let job = job(json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3}));
    let plan = step(&job, &[indexed("a", 0, "Pending"), indexed("b", 1, "Succeeded")]);
    let indexes: Vec<_> = plan.create.iter().filter_map(|slot| slot.index).collect();
    assert_eq!(indexes, [2, 3]);
    let status = plan.status(2);
    assert_eq!(status.completed_indexes.as_deref(), Some("1"));
    assert_eq!((status.succeeded, status.active), (Some(1), Some(3)));
}

#[test]
fn failed_indexes_end_a_job_once_all_others_succeeded() {
    let mut job = job(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2,
        "backoffLimitPerIndex": 0, "backoffLimit": 100}));
    job.status = Some(object(json!({"completedIndexes": "1"})));
    let mut pod = (*ended("a", "Failed")).clone();
    pod.metadata.annotations.get_or_insert_default().insert(pod::INDEX.into(), "0".into());
    let status = step(&job, &[Arc::new(pod)]).status(0);
    assert_eq!(conditions(&status), ["FailureTarget", "Failed"]);
    assert_eq!(status.failed_indexes.as_deref(), Some("0"));
}

#[test]
fn a_suspended_job_loses_its_pods_and_its_start() {
    let mut job = job(json!({"suspend": true}));
    job.status = Some(object(json!({"startTime": NOW})));
    let plan = step(&job, &[one("a", json!({}))]);
    assert_eq!(plan.delete.len(), 1);
    let status = plan.status(0);
    assert_eq!(status.start_time, None);
    assert_eq!(conditions(&status), ["Suspended"]);
}

#[test]
fn a_work_queue_ends_when_all_have_ended_after_one_success() {
    let mut job = job(json!({"parallelism": 2}));
    job.spec.as_mut().expect("spec").completions = None;
    let running = one("b", json!({}));
    let plan = step(&job, &[ended("a", "Succeeded"), running]);
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    let done = step(&job, &[ended("a", "Succeeded")]);
    assert_eq!(conditions(&done.status(0)), ["SuccessCriteriaMet", "Complete"]);
}
