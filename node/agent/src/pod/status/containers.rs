//! The status of one container.

use super::Facts;
use crate::clock::{Nanos, epoch, time};
use crate::pod::plan::{View, held_until, is_started, outcome};
use crate::pod::seen::{LOST, exit_code, finished_at, is_running};
use crate::pod::spec::{self, Kind};
use crate::pod::{backoff, seen};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMountStatus,
};

/// What is said of a container that is gone without a trace.
const UNKNOWN: (&str, &str) =
    ("ContainerStatusUnknown", "The container could not be located when the pod was terminated");

/// The status of one container.
pub(super) fn status(
    view: View,
    facts: &Facts,
    kind: Kind,
    container: &Container,
) -> ContainerStatus {
    let Some(latest) = view.seen.latest(&container.name) else {
        return unseen(view, kind, container);
    };
    let (state, last) = states(view, facts, kind, container, latest);
    let running = is_running(latest) && state.running.is_some();
    let started = running && is_started(view, container, &latest.id);
    let succeeded = state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0);
    let ready = match kind {
        Kind::Init => succeeded,
        Kind::Ephemeral => false,
        Kind::Main | Kind::Sidecar => started && is_ready(view, container, &latest.id),
    };
    let resources = container.resources.clone();
    let requests = resources.as_ref().and_then(|resources| resources.requests.clone());
    let in_force = kind == Kind::Main || kind == Kind::Sidecar;
    ContainerStatus {
        allocated_resources: requests.filter(|_| in_force),
        container_id: Some(format!("{}://{}", facts.runtime, latest.id)),
        image: latest.image.clone(),
        image_id: latest.image_id.clone(),
        last_state: Some(last.unwrap_or_default()),
        name: container.name.clone(),
        ready,
        resources: resources.filter(|_| in_force),
        restart_count: i32::try_from(latest.config.attempt).unwrap_or(i32::MAX),
        started: Some(started),
        state: Some(state),
        user: Some(user(latest)).filter(|_| running),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    }
}

/// Whether the readiness probe, if there is one, has succeeded.
fn is_ready(view: View, container: &Container, id: &str) -> bool {
    let result = view.memory.probes.get(id).and_then(|results| results.ready);
    container.readiness_probe.is_none() || result == Some(true)
}

/// State and last state of a container that the runtime knows.
fn states(
    view: View,
    facts: &Facts,
    kind: Kind,
    container: &Container,
    latest: &runtime::Container,
) -> (ContainerState, Option<ContainerState>) {
    let ended = |one: &runtime::Container| ContainerState {
        terminated: Some(terminated(view, facts, one)),
        ..ContainerState::default()
    };
    let before = || {
        let mut others = view.seen.instances(&container.name).skip(1);
        let known = others.find(|one| exit_code(one).is_some()).map(ended);
        known.or_else(|| {
            let before = view.memory.before.get(&container.name)?;
            let count = u32::try_from(before.restart_count).unwrap_or(0);
            match count < latest.config.attempt {
                true => before.state.clone().filter(|state| state.terminated.is_some()),
                false => before.last_state.clone(),
            }
        })
    };
    match &latest.state {
        runtime::ContainerState::Running => {
            let started_at = time(latest.started_at);
            let running = Some(ContainerStateRunning { started_at });
            (ContainerState { running, ..ContainerState::default() }, before())
        }
        runtime::ContainerState::Created => (waiting(creating(view, kind), None), before()),
        _ => match waits(view, kind, container, latest) {
            Some(state) => (state, Some(ended(latest))),
            None => (ended(latest), before()),
        },
    }
}

/// The waiting state of an ended container that will start again later; `None` when it will not
/// wait.
fn waits(
    view: View,
    kind: Kind,
    container: &Container,
    latest: &runtime::Container,
) -> Option<ContainerState> {
    if view.memory.end.is_some() || outcome(view).is_some() {
        return None;
    }
    let code = exit_code(latest)?;
    if !spec::should_restart(view.pod, kind, container, code) {
        return None;
    }
    let until = held_until(view, container);
    let until = until.filter(|until| *until > view.now);
    if let Some(failure) = view.memory.failures.get(&container.name)
        && (failure.retry > view.now || until.is_none())
    {
        return Some(waiting(&failure.reason, Some(failure.message.clone())));
    }
    let until = until?;
    let delay: Nanos = until - finished_at(latest);
    Some(waiting("CrashLoopBackOff", Some(crash_text(view, container, delay))))
}

/// What is said while a container waits after a crash.
pub(super) fn crash_text(view: View, container: &Container, delay: Nanos) -> String {
    let spec::Id { namespace, name, uid } = spec::id(view.pod);
    let delay = backoff::text(delay);
    let container = &container.name;
    format!(
        "back-off {delay} restarting failed container={container} pod={name}_{namespace}({uid})"
    )
}

/// The status of a container that the runtime knows nothing of.
fn unseen(view: View, kind: Kind, container: &Container) -> ContainerStatus {
    if let Some(before) = view.memory.before.get(&container.name) {
        let state = before.state.clone().unwrap_or_default();
        if state.terminated.is_some() {
            return before.clone();
        }
        let over = view.memory.end.is_some() || outcome(view).is_some();
        if over && state.running.is_some() {
            let terminated = ContainerStateTerminated {
                exit_code: LOST,
                reason: Some(UNKNOWN.0.into()),
                message: Some(UNKNOWN.1.into()),
                ..ContainerStateTerminated::default()
            };
            let terminated = Some(terminated);
            return ContainerStatus {
                state: Some(ContainerState { terminated, ..ContainerState::default() }),
                ready: false,
                started: Some(false),
                user: None,
                ..before.clone()
            };
        }
    }
    let failure = view.memory.failures.get(&container.name);
    let state = match failure {
        Some(failure) => waiting(&failure.reason, Some(failure.message.clone())),
        None => waiting(creating(view, kind), None),
    };
    let before = view.memory.before.get(&container.name);
    ContainerStatus {
        image: container.image.clone().unwrap_or_default(),
        last_state: Some(before.and_then(|one| one.last_state.clone()).unwrap_or_default()),
        name: container.name.clone(),
        restart_count: before.map_or(0, |one| one.restart_count),
        started: Some(false),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

/// Why a container that was not made yet waits.
fn creating(view: View, kind: Kind) -> &'static str {
    let inits = view.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    let has_inits = inits.is_some_and(|inits| !inits.is_empty());
    match has_inits && kind != Kind::Ephemeral {
        true => "PodInitializing",
        false => "ContainerCreating",
    }
}

/// A waiting state.
fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = Some(ContainerStateWaiting { reason: Some(reason.into()), message });
    ContainerState { waiting, ..ContainerState::default() }
}

/// How an instance ended.
fn terminated(view: View, facts: &Facts, one: &runtime::Container) -> ContainerStateTerminated {
    let message = view.memory.messages.get(&one.id).filter(|message| !message.is_empty()).cloned();
    let container_id = Some(format!("{}://{}", facts.runtime, one.id));
    let started_at = time(one.started_at);
    let runtime::ContainerState::Exited(exit) = &one.state else {
        return ContainerStateTerminated {
            container_id,
            exit_code: seen::LOST,
            reason: Some(UNKNOWN.0.into()),
            message: Some(UNKNOWN.1.into()),
            started_at,
            ..ContainerStateTerminated::default()
        };
    };
    let reason = match exit {
        exit if exit.oom_killed => "OOMKilled",
        exit if !exit.message.is_empty() && one.started_at == 0 => "StartError",
        exit if exit.code == 0 => "Completed",
        _ => "Error",
    };
    let own = (!exit.message.is_empty()).then(|| exit.message.clone());
    ContainerStateTerminated {
        container_id,
        exit_code: exit.code,
        finished_at: time(exit.finished_at),
        message: message.or(own),
        reason: Some(reason.into()),
        signal: None,
        started_at: started_at.or_else(|| Some(epoch())),
    }
}

/// As whom a container runs.
fn user(one: &runtime::Container) -> ContainerUser {
    let (uid, gid, groups) = &one.user;
    let groups: Vec<i64> = groups.iter().map(|group| i64::from(*group)).collect();
    let supplemental_groups = (!groups.is_empty()).then_some(groups);
    let (uid, gid) = (i64::from(*uid), i64::from(*gid));
    ContainerUser { linux: Some(LinuxContainerUser { uid, gid, supplemental_groups }) }
}

/// A container's mounts as its status shows them.
fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref()?.iter().map(|mount| {
        let read_only = mount.read_only.filter(|read_only| *read_only);
        VolumeMountStatus {
            mount_path: mount.mount_path.clone(),
            name: mount.name.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| "Disabled".to_owned()),
            ..VolumeMountStatus::default()
        }
    });
    let mounts: Vec<_> = mounts.collect();
    (!mounts.is_empty()).then_some(mounts)
}
