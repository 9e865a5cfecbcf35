//! A Pod's status as a pure function of what is known, and the smallest patch that tells the API
//! server.
//!
//! Reasons and sentences are upstream's, because people and tools search for them.

mod conditions;
mod containers;
mod diff;

pub(crate) use diff::diff;

use super::plan::{Outcome, View, outcome};
use super::seen::exit_code;
use super::spec::{self, Kind};
use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};

/// Facts of the node that a status tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The node's addresses.
    pub(crate) host_ips: Vec<String>,
    /// What runs the containers, the scheme of container ids.
    pub(crate) runtime: String,
}

/// The whole status of a Pod.
pub(crate) fn status(view: View, facts: &Facts) -> PodStatus {
    let stored = view.pod.status.clone().unwrap_or_default();
    let all = spec::containers(view.pod);
    if view.memory.rejected {
        let (reason, message) = whole(view, &stored);
        return PodStatus {
            phase: Some("Failed".into()),
            reason,
            message,
            observed_generation: view.pod.metadata.generation,
            qos_class: Some(super::qos::class(view.pod).word().into()),
            ..stored
        };
    }
    let of = |wanted: &[Kind]| {
        let chosen = all.iter().filter(|(kind, _)| wanted.contains(kind));
        let made: Vec<_> =
            chosen.map(|(kind, one)| containers::status(view, facts, *kind, one)).collect();
        (!made.is_empty()).then_some(made)
    };
    let inits = of(&[Kind::Init, Kind::Sidecar]);
    let mains = of(&[Kind::Main]);
    let phase = phase(view);
    let (reason, message) = whole(view, &stored);
    let conditions = conditions::conditions(
        view,
        &stored,
        &conditions::Parts {
            inits: inits.as_deref().unwrap_or_default(),
            mains: mains.as_deref().unwrap_or_default(),
            phase,
        },
    );
    let ips: Vec<String> = match view.memory.ips.is_empty() {
        true => stored.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
        false => view.memory.ips.iter().map(ToString::to_string).collect(),
    };
    let host_ips: Vec<HostIP> = facts.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect();
    PodStatus {
        phase: Some(phase.into()),
        reason,
        message,
        conditions: Some(conditions),
        container_statuses: mains,
        init_container_statuses: inits,
        ephemeral_container_statuses: of(&[Kind::Ephemeral]),
        host_ip: facts.host_ips.first().cloned(),
        host_ips: (!host_ips.is_empty()).then_some(host_ips),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: crate::clock::time(view.memory.started_at),
        observed_generation: view.pod.metadata.generation,
        qos_class: Some(super::qos::class(view.pod).word().into()),
        ..stored
    }
}

/// Reason and message of the Pod as a whole.
fn whole(view: View, stored: &PodStatus) -> (Option<String>, Option<String>) {
    use super::memory::Cause;
    match view.memory.end.as_ref().map(|end| &end.cause) {
        Some(Cause::Failed { reason, message }) => (Some(reason.clone()), Some(message.clone())),
        // Whoever wrote a reason before (an eviction, for instance) is not overruled.
        _ => (stored.reason.clone(), stored.message.clone()),
    }
}

/// Where the Pod is in its life. It never goes back from an end.
pub(crate) fn phase(view: View) -> &'static str {
    let word = |outcome| match outcome {
        Outcome::Succeeded => "Succeeded",
        Outcome::Failed => "Failed",
    };
    let running = view.seen.running().next().is_some();
    if let Some(outcome) = outcome(view) {
        let stored = view.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_final = matches!(stored, Some("Succeeded" | "Failed"));
        return if running && !is_final { "Running" } else { word(outcome) };
    }
    if let Some(end) = &view.memory.end {
        use super::memory::Cause;
        if matches!(end.cause, Cause::Failed { .. }) {
            return if running { alive(view) } else { "Failed" };
        }
        if view.memory.released && !running {
            return word(ended(view));
        }
    }
    alive(view)
}

/// How a Pod that was made to end has ended.
fn ended(view: View) -> Outcome {
    let all = spec::containers(view.pod);
    let mut mains = all.iter().filter(|(kind, _)| *kind == Kind::Main);
    let all_good = mains
        .all(|(_, container)| view.seen.latest(&container.name).and_then(exit_code) == Some(0));
    if all_good { Outcome::Succeeded } else { Outcome::Failed }
}

/// The phase of a Pod that has not ended: `Running` once every container was started.
fn alive(view: View) -> &'static str {
    let all = spec::containers(view.pod);
    let mut mains = all.iter().filter(|(kind, _)| *kind == Kind::Main);
    let started = mains.all(|(_, container)| {
        let latest = view.seen.latest(&container.name);
        let seen = latest.is_some_and(|latest| latest.state != runtime::ContainerState::Created);
        seen || view
            .memory
            .before
            .get(&container.name)
            .is_some_and(|one| one.container_id.is_some())
    });
    if started { "Running" } else { "Pending" }
}

#[cfg(test)]
mod tests;
