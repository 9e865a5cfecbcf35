//! The conditions that the node answers for, each with the time it last changed.

use crate::clock::time;
use crate::pod::plan::View;
use crate::pod::seen::is_running;
use crate::pod::spec::{self, Kind};
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};

/// Statuses that the conditions are drawn from.
pub(super) struct Parts<'a> {
    /// Init containers.
    pub(super) inits: &'a [ContainerStatus],
    /// Containers.
    pub(super) mains: &'a [ContainerStatus],
    /// The Pod's phase.
    pub(super) phase: &'a str,
}

/// Whether a condition holds, and if not (or not quite) why.
struct Verdict {
    holds: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    /// It holds.
    fn yes() -> Self {
        Self { holds: true, reason: None, message: None }
    }

    /// It does not hold.
    fn no(reason: &str, message: Option<String>) -> Self {
        Self { holds: false, reason: Some(reason.into()), message }
    }
}

/// All conditions: ours first, then those that others have written.
pub(super) fn conditions(view: View, stored: &PodStatus, parts: &Parts) -> Vec<PodCondition> {
    let ready_containers = containers_ready(view, parts);
    let ready = pod_ready(view, stored, &ready_containers);
    let sandbox = view.seen.is_standing() && !view.memory.ips.is_empty() && !view.memory.released;
    let sandbox = Verdict { holds: sandbox, reason: None, message: None };
    let own = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(view, parts)),
        ("Ready", ready),
        ("ContainersReady", ready_containers),
        ("PodScheduled", Verdict::yes()),
    ];
    let before = stored.conditions.as_deref().unwrap_or_default();
    let mut made: Vec<PodCondition> =
        own.into_iter().map(|(name, verdict)| condition(view, name, verdict, before)).collect();
    let foreign = before.iter().filter(|old| made.iter().all(|new| new.type_ != old.type_));
    let foreign: Vec<_> = foreign.cloned().collect();
    made.extend(foreign);
    made
}

/// One condition; its time changes only with its status.
fn condition(view: View, name: &str, verdict: Verdict, before: &[PodCondition]) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let old = before.iter().find(|old| old.type_ == name);
    let same = old.filter(|old| old.status == status);
    if name == "PodScheduled"
        && let Some(same) = same
    {
        // The scheduler's own words stay.
        return same.clone();
    }
    let since = same.and_then(|same| same.last_transition_time.clone());
    PodCondition {
        last_probe_time: None,
        last_transition_time: since.or_else(|| time(view.now)),
        message: verdict.message,
        observed_generation: view.pod.metadata.generation,
        reason: verdict.reason,
        status: status.into(),
        type_: name.into(),
    }
}

/// Names in brackets, as Go prints a list.
fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

/// Whether init containers are done and sidecars have started.
fn initialized(view: View, parts: &Parts) -> Verdict {
    if parts.phase == "Succeeded" {
        return Verdict { holds: true, reason: Some("PodCompleted".into()), message: None };
    }
    let started = parts.mains.iter().any(|main| main.container_id.is_some());
    let all = spec::containers(view.pod);
    let is_sidecar = |name: &str| {
        all.iter().any(|(kind, container)| *kind == Kind::Sidecar && container.name == name)
    };
    let open = parts.inits.iter().filter(|init| match is_sidecar(&init.name) {
        true => init.started != Some(true),
        false => !init.ready,
    });
    let open: Vec<&str> = open.map(|init| init.name.as_str()).collect();
    match started || open.is_empty() {
        true => Verdict::yes(),
        false => {
            let message = format!("containers with incomplete status: {}", listed(&open));
            Verdict::no("ContainersNotInitialized", Some(message))
        }
    }
}

/// Whether all containers (and sidecars) are ready.
fn containers_ready(view: View, parts: &Parts) -> Verdict {
    match parts.phase {
        "Succeeded" => return Verdict::no("PodCompleted", None),
        "Failed" => return Verdict::no("PodFailed", None),
        _ => {}
    }
    let all = spec::containers(view.pod);
    let lasting = all.iter().filter(|(kind, _)| matches!(kind, Kind::Sidecar | Kind::Main));
    let mut unready: Vec<&str> = Vec::new();
    for (_, container) in lasting {
        let mut statuses = parts.inits.iter().chain(parts.mains);
        let ready = statuses.any(|one| one.name == container.name && one.ready);
        if !ready {
            unready.push(&container.name);
        }
    }
    // A container that runs but is being stopped for good is not ready for anybody.
    let stopping = view.memory.end.is_some() && !view.seen.containers.iter().any(is_running);
    match unready.is_empty() && !stopping {
        true => Verdict::yes(),
        false => {
            let message = format!("containers with unready status: {}", listed(&unready));
            Verdict::no("ContainersNotReady", Some(message))
        }
    }
}

/// Whether the Pod may get traffic: its containers are ready and its gates open.
fn pod_ready(view: View, stored: &PodStatus, containers: &Verdict) -> Verdict {
    if !containers.holds {
        let (reason, message) = (containers.reason.clone(), containers.message.clone());
        return Verdict { holds: false, reason, message };
    }
    let gates = view.pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
    let closed: Vec<String> = gates
        .into_iter()
        .flatten()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            let found = stored.conditions.iter().flatten().find(|one| one.type_ == *name);
            match found {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{name}\" does not exist."
                )),
                Some(found) if found.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                    found.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    match closed.is_empty() {
        true => Verdict::yes(),
        false => Verdict::no("ReadinessGatesNotReady", Some(closed.join(", "))),
    }
}
