//! A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure.

use super::{plan::Plan, sets};
use crate::{apps::replicas::nonzero, ctx::Action};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{
        Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::time::Duration;

/// A new condition.
pub(crate) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

/// The condition of a type.
pub(crate) fn find<'a>(
    all: &'a [DeploymentCondition],
    kind: &str,
) -> Option<&'a DeploymentCondition> {
    all.iter().find(|one| one.type_.as_deref() == Some(kind))
}

/// Sets a condition at the end, unless it says the same already.
pub(crate) fn set(
    mut all: Vec<DeploymentCondition>,
    mut new: DeploymentCondition,
) -> Vec<DeploymentCondition> {
    if let Some(old) = find(&all, new.type_.as_deref().unwrap_or_default()) {
        if old.status == new.status && old.reason == new.reason {
            return all;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
    }
    all.retain(|one| one.type_ != new.type_);
    all.push(new);
    all
}

/// Whether lack of progress is judged.
pub(crate) fn has_deadline(spec: &DeploymentSpec) -> bool {
    spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

/// Whether all Pods are of the new template and available.
pub(crate) fn is_complete(deployment: &Deployment, status: Option<&DeploymentStatus>) -> bool {
    let wanted = sets::wanted(&deployment.spec);
    status.is_some_and(|status| {
        status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) == wanted
            && status.observed_generation >= deployment.metadata.generation
    })
}

/// The status after a plan.
pub(crate) fn of(
    deployment: &Deployment,
    plan: &Plan,
    conditions: Vec<DeploymentCondition>,
    now: Timestamp,
) -> DeploymentStatus {
    let spec = &deployment.spec;
    let all: Vec<&ReplicaSet> = plan.old.iter().chain(&plan.new).collect();
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| all.iter().map(|set| of(set)).sum::<i32>();
    let replicas = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let ready =
        |set: &ReplicaSet| set.status.as_ref().and_then(|one| one.ready_replicas).unwrap_or(0);
    let leaving = |set: &ReplicaSet| {
        set.status.as_ref().and_then(|one| one.terminating_replicas).unwrap_or(0)
    };
    let available = sum(&sets::available);
    let old = deployment.status.clone().unwrap_or_default();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(&replicas)),
        updated_replicas: nonzero(plan.new.as_ref().map_or(0, replicas)),
        ready_replicas: nonzero(sum(&ready)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sum(&sets::replicas) - available).max(0)),
        terminating_replicas: Some(sum(&leaving)),
        collision_count: old.collision_count,
        conditions: None,
    };
    let enough = available >= sets::wanted(spec) - sets::max_unavailable(spec);
    let new = if enough {
        let message = "Deployment has minimum availability.";
        condition("Available", "True", "MinimumReplicasAvailable", message.into(), now)
    } else {
        let message = "Deployment does not have minimum availability.";
        condition("Available", "False", "MinimumReplicasUnavailable", message.into(), now)
    };
    let mut conditions = set(conditions, new);
    if plan.rollout {
        conditions = progress(deployment, plan, &status, conditions, now);
        conditions = failure(plan, conditions, now);
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    status
}

/// Judges progress.
fn progress(
    deployment: &Deployment,
    plan: &Plan,
    status: &DeploymentStatus,
    mut conditions: Vec<DeploymentCondition>,
    now: Timestamp,
) -> Vec<DeploymentCondition> {
    let spec = &deployment.spec;
    if !has_deadline(spec) {
        conditions.retain(|one| one.type_.as_deref() != Some("Progressing"));
        return conditions;
    }
    let current = find(&conditions, "Progressing").cloned();
    let reason = current.as_ref().and_then(|one| one.reason.as_deref()).unwrap_or_default();
    if status.replicas == status.updated_replicas && reason == "NewReplicaSetAvailable" {
        return conditions;
    }
    let subject = match &plan.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.metadata.name.as_deref().unwrap_or_default()),
        None => {
            format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default())
        }
    };
    if is_complete(deployment, Some(status)) {
        let message = format!("{subject} has successfully progressed.");
        let new = condition("Progressing", "True", "NewReplicaSetAvailable", message, now);
        return set(conditions, new);
    }
    if has_progressed(deployment, status) {
        let message = format!("{subject} is progressing.");
        let mut new = condition("Progressing", "True", "ReplicaSetUpdated", message, now);
        if let Some(current) = current {
            if current.status.as_deref() == Some("True") {
                new.last_transition_time = current.last_transition_time;
            }
            conditions.retain(|one| one.type_.as_deref() != Some("Progressing"));
        }
        return set(conditions, new);
    }
    if left(spec, current.as_ref(), now).is_some_and(|left| left.is_zero()) {
        let message = format!("{subject} has timed out progressing.");
        let new = condition("Progressing", "False", "ProgressDeadlineExceeded", message, now);
        return set(conditions, new);
    }
    conditions
}

/// Whether more Pods are new, ready or available than before, or fewer old.
fn has_progressed(deployment: &Deployment, new: &DeploymentStatus) -> bool {
    let old = deployment.status.clone().unwrap_or_default();
    let number = |count: Option<i32>| count.unwrap_or(0);
    let outdated =
        |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || outdated(new) < outdated(&old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

/// How much of the deadline is left; `None` when no clock runs.
fn left(
    spec: &DeploymentSpec,
    current: Option<&DeploymentCondition>,
    now: Timestamp,
) -> Option<Duration> {
    let current = current?;
    let reason = current.reason.as_deref().unwrap_or_default();
    if reason == "NewReplicaSetAvailable" {
        return None;
    }
    if reason == "ProgressDeadlineExceeded" {
        return Some(Duration::ZERO);
    }
    let deadline = SignedDuration::from_secs(i64::from(spec.progress_deadline_seconds?));
    let since = current.last_update_time.as_ref()?.0;
    let left = deadline - now.duration_since(since);
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
}

/// Shows why a ReplicaSet can't make its Pods.
fn failure(
    plan: &Plan,
    mut conditions: Vec<DeploymentCondition>,
    now: Timestamp,
) -> Vec<DeploymentCondition> {
    let failed = |set: &ReplicaSet| {
        let all = set.status.as_ref().and_then(|status| status.conditions.clone());
        all.into_iter().flatten().find(|one| one.type_.as_deref() == Some("ReplicaFailure"))
    };
    let found = plan.new.as_ref().and_then(failed);
    let found = found.or_else(|| plan.old.iter().find_map(failed));
    match found {
        Some(found) => {
            let (reason, message) =
                (found.reason.unwrap_or_default(), found.message.unwrap_or_default());
            set(
                conditions,
                condition(
                    "ReplicaFailure",
                    found.status.as_deref().unwrap_or("True"),
                    &reason,
                    message,
                    now,
                ),
            )
        }
        None => {
            conditions.retain(|one| one.type_.as_deref() != Some("ReplicaFailure"));
            conditions
        }
    }
}

/// When to look again because the deadline passes.
pub(crate) fn next_look(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Action {
    let spec = &deployment.spec;
    if !has_deadline(spec) || is_complete(deployment, Some(status)) || spec.paused == Some(true) {
        return Action::Done;
    }
    let current = find(status.conditions.as_deref().unwrap_or_default(), "Progressing");
    match left(spec, current, now) {
        Some(left) if !left.is_zero() => Action::After(left + Duration::from_secs(1)),
        _ => Action::Done,
    }
}
