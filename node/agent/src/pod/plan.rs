//! What to do next for one Pod: a pure function of the Pod, what the runtime has, and what the
//! worker remembers.
//!
//! The worker calls [`plan`] after every change, does the steps and calls it again; a plan without
//! steps says when to look again at the latest. Order: the Pod's end, its sandbox, init containers
//! one by one (sidecars stay), ephemeral containers, containers.

use super::memory::{End, Memory};
use super::seen::{Seen, exit_code, finished_at, is_running};
use super::spec::{self, Kind};
use crate::clock::{Nanos, SECOND};
use k8s_openapi::api::core::v1::{Container, Pod};
use runtime::ContainerState;
use std::borrow::Cow;

/// What a container gets at least to stop, even when its Pod's time is up.
const LEAST_GRACE: Nanos = SECOND;
/// Instances of a container that are kept: the current one and the one before it.
const KEPT: usize = 2;

/// What a decision is made of.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// The Pod as the API has it.
    pub(crate) pod: &'a Pod,
    /// What the runtime has.
    pub(crate) seen: &'a Seen,
    /// What the worker remembers.
    pub(crate) memory: &'a Memory,
    /// Now.
    pub(crate) now: Nanos,
}

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its Pod ends.
    PodEnds,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// The Pod names another image now.
    Changed,
    /// Its postStart hook failed.
    Hook,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make volumes, network and sandbox.
    Sandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Let a broken sandbox go.
    Drop {
        /// The sandbox.
        id: String,
    },
    /// Make and start a container.
    Start {
        /// Its part.
        kind: Kind,
        /// Its name.
        name: String,
        /// How often it was made before.
        attempt: u32,
    },
    /// Stop a container.
    Kill {
        /// The container.
        id: String,
        /// Its name.
        name: String,
        /// Why.
        why: Why,
        /// When it is killed at the latest.
        deadline: Nanos,
    },
    /// Forget an ended container.
    Remove {
        /// The container.
        id: String,
    },
    /// Forget a sandbox of before.
    Forget {
        /// The sandbox.
        id: String,
    },
    /// Give back network, volumes and sandbox: nothing runs any more.
    Release,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Steps in order.
    pub(crate) steps: Vec<Step>,
    /// When to plan again, if nothing happens before.
    pub(crate) wake: Option<Nanos>,
    /// Whether the Pod has ended and everything is given back.
    pub(crate) over: bool,
}

impl Plan {
    /// Asks to be called again at a time.
    fn wake_at(&mut self, at: Nanos) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// How a Pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All containers ended well.
    Succeeded,
    /// One did not.
    Failed,
}

/// The next steps.
pub(crate) fn plan(view: View) -> Plan {
    let mut plan = Plan::default();
    if let Some(end) = &view.memory.end {
        finish(view, Some(end), &mut plan);
        return plan;
    }
    if outcome(view).is_some() {
        finish(view, None, &mut plan);
        return plan;
    }
    if !view.seen.is_standing() {
        sandbox(view, &mut plan);
        return plan;
    }
    let all = spec::containers(view.pod);
    if initialize(view, &all, &mut plan) {
        for (kind, container) in all.iter().filter(|(kind, _)| *kind == Kind::Ephemeral) {
            if view.seen.latest(&container.name).is_none() {
                start(view, *kind, container, &mut plan);
            }
        }
        for (kind, container) in all.iter().filter(|(kind, _)| *kind == Kind::Main) {
            advance(view, *kind, container, &mut plan);
            if is_in_hook(view, container) {
                break;
            }
        }
    }
    if plan.steps.is_empty() {
        tidy(view, &mut plan);
    }
    plan
}

/// How the Pod ended, if its containers have decided it.
pub(crate) fn outcome(view: View) -> Option<Outcome> {
    let stored = view.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match stored {
        Some("Succeeded") => return Some(Outcome::Succeeded),
        Some("Failed") => return Some(Outcome::Failed),
        _ => {}
    }
    let all = spec::containers(view.pod);
    let ended = |kind: Kind, container: &Container| {
        let latest = view.seen.latest(&container.name)?;
        let code = exit_code(latest)?;
        (!spec::should_restart(view.pod, kind, container, code)).then_some(code)
    };
    let started = has_started_mains(view, &all);
    if !started {
        let inits = all.iter().filter(|(kind, _)| *kind == Kind::Init);
        let mut codes = inits.filter_map(|(kind, container)| ended(*kind, container));
        if codes.any(|code| code != 0) {
            return Some(Outcome::Failed);
        }
    }
    let mains = all.iter().filter(|(kind, _)| *kind == Kind::Main);
    let codes: Option<Vec<i32>> = mains.map(|(kind, container)| ended(*kind, container)).collect();
    match codes? {
        codes if codes.is_empty() => None,
        codes if codes.iter().all(|code| *code == 0) => Some(Outcome::Succeeded),
        _ => Some(Outcome::Failed),
    }
}

/// Whether any of the Pod's own containers was made in the newest sandbox (or, without one, ever).
fn has_started_mains(view: View, all: &[(Kind, Cow<Container>)]) -> bool {
    let mut mains = all.iter().filter(|(kind, _)| *kind == Kind::Main);
    match view.seen.is_standing() {
        true => mains.any(|(_, container)| view.seen.here(&container.name).is_some()),
        false => mains.any(|(_, container)| view.seen.latest(&container.name).is_some()),
    }
}

/// Stops everything: containers first, then sidecars one by one in reverse order, then the rest is
/// given back.
fn finish(view: View, end: Option<&End>, plan: &mut Plan) {
    let all = spec::containers(view.pod);
    let is_sidecar = |name: &str| {
        all.iter().any(|(kind, container)| *kind == Kind::Sidecar && container.name == name)
    };
    let deadline = match end {
        Some(end) => end.deadline.max(view.now + LEAST_GRACE),
        None => view.now + crate::clock::seconds(spec::grace(view.pod)),
    };
    let plain: Vec<_> =
        view.seen.running().filter(|container| !is_sidecar(&container.config.name)).collect();
    if !plain.is_empty() {
        for container in plain {
            kill(view, container, Why::PodEnds, deadline, plan);
        }
        return;
    }
    let sidecars = all.iter().rev().filter(|(kind, _)| *kind == Kind::Sidecar);
    let mut running = sidecars.filter_map(|(_, container)| {
        view.seen.running().find(|running| running.config.name == container.name)
    });
    if let Some(last) = running.next() {
        kill(view, last, Why::PodEnds, deadline, plan);
        return;
    }
    match view.memory.released {
        true => plan.over = true,
        false => plan.steps.push(Step::Release),
    }
}

/// Asks for a container's stop, unless it is being stopped soon enough already.
fn kill(view: View, container: &runtime::Container, why: Why, deadline: Nanos, plan: &mut Plan) {
    // A second order is only worth it when it comes a good deal sooner.
    let known = view.memory.killing.get(&container.id);
    if known.is_none_or(|known| *known > deadline + SECOND) {
        plan.steps.push(Step::Kill {
            id: container.id.clone(),
            name: container.config.name.clone(),
            why,
            deadline,
        });
    }
}

/// Asks for a sandbox where none stands.
fn sandbox(view: View, plan: &mut Plan) {
    let attempt = match &view.seen.sandbox {
        None => 0,
        Some(broken) => {
            plan.steps.push(Step::Drop { id: broken.id.clone() });
            broken.config.attempt + 1
        }
    };
    if let Some(trouble) = &view.memory.trouble
        && trouble.retry > view.now
    {
        plan.steps.clear();
        plan.wake_at(trouble.retry);
        return;
    }
    plan.steps.push(Step::Sandbox { attempt });
}

/// Brings init containers forward; says whether the Pod's own containers may run.
fn initialize(view: View, all: &[(Kind, Cow<Container>)], plan: &mut Plan) -> bool {
    let started = has_started_mains(view, all);
    for (kind, container) in all.iter() {
        match kind {
            Kind::Sidecar => {
                advance(view, *kind, container, plan);
                let up = view
                    .seen
                    .here(&container.name)
                    .is_some_and(|here| is_running(here) && is_started(view, container, &here.id));
                if !started && (!up || is_in_hook(view, container)) {
                    return false;
                }
            }
            Kind::Init if !started => {
                let done = view.seen.here(&container.name).and_then(exit_code) == Some(0);
                if !done {
                    advance(view, *kind, container, plan);
                    return false;
                }
            }
            _ => {}
        }
    }
    true
}

/// Whether a container's startup probe, if it has one, has succeeded.
pub(crate) fn is_started(view: View, container: &Container, id: &str) -> bool {
    let result = view.memory.probes.get(id).and_then(|results| results.started);
    container.startup_probe.is_none() || result == Some(true)
}

/// Whether a container's postStart hook runs.
fn is_in_hook(view: View, container: &Container) -> bool {
    let here = view.seen.here(&container.name);
    here.is_some_and(|here| view.memory.hooks.contains(&here.id))
}

/// Brings one container forward: starts it, starts it again, or stops it for a reason of its own.
fn advance(view: View, kind: Kind, container: &Container, plan: &mut Plan) {
    let Some(here) = view.seen.here(&container.name) else {
        return start(view, kind, container, plan);
    };
    match &here.state {
        ContainerState::Created => {
            plan.steps.push(Step::Remove { id: here.id.clone() });
            let (name, attempt) = (container.name.clone(), here.config.attempt);
            plan.steps.push(Step::Start { kind, name, attempt });
        }
        ContainerState::Running => {
            if let Some(why) = complaint(view, kind, container, here) {
                let grace = match why {
                    Why::Liveness => probe_grace(container.liveness_probe.as_ref()),
                    Why::Startup => probe_grace(container.startup_probe.as_ref()),
                    _ => None,
                };
                let grace = grace.unwrap_or_else(|| spec::grace(view.pod));
                if !view.memory.killing.contains_key(&here.id) {
                    let deadline = view.now + crate::clock::seconds(grace);
                    kill(view, here, why, deadline, plan);
                }
            }
        }
        ContainerState::Exited(_) | ContainerState::Unknown => {
            let code = exit_code(here).unwrap_or_default();
            if spec::should_restart(view.pod, kind, container, code) {
                start(view, kind, container, plan);
            }
        }
    }
}

/// The grace period that a probe has of its own.
fn probe_grace(probe: Option<&k8s_openapi::api::core::v1::Probe>) -> Option<i64> {
    probe.and_then(|probe| probe.termination_grace_period_seconds)
}

/// Why a running container must be replaced.
fn complaint(
    view: View,
    kind: Kind,
    container: &Container,
    here: &runtime::Container,
) -> Option<Why> {
    let results = view.memory.probes.get(&here.id).copied().unwrap_or_default();
    if results.hook_failed {
        return Some(Why::Hook);
    }
    if results.started == Some(false) {
        return Some(Why::Startup);
    }
    if results.alive == Some(false) {
        return Some(Why::Liveness);
    }
    let image = here.config.labels.get(crate::names::CONTAINER_IMAGE);
    let changed = image.is_some() && image != container.image.as_ref();
    (changed && matches!(kind, Kind::Main | Kind::Sidecar)).then_some(Why::Changed)
}

/// Asks for a container's start when its delay is over.
fn start(view: View, kind: Kind, container: &Container, plan: &mut Plan) {
    if let Some(until) = held_until(view, container)
        && until > view.now
    {
        plan.wake_at(until);
        // The shorter of two delays ends with another word in the status.
        let failure = view.memory.failures.get(&container.name).map(|failure| failure.retry);
        if let Some(retry) = failure.filter(|retry| *retry > view.now) {
            plan.wake_at(retry);
        }
        return;
    }
    let attempt = match view.seen.latest(&container.name) {
        Some(latest) => latest.config.attempt + 1,
        None => view.memory.attempts(&container.name),
    };
    plan.steps.push(Step::Start { kind, name: container.name.clone(), attempt });
}

/// Until when a container may not be started.
pub(crate) fn held_until(view: View, container: &Container) -> Option<Nanos> {
    let failure = view.memory.failures.get(&container.name).map(|failure| failure.retry);
    let crash = view.memory.backoff.get(&container.name).and_then(|backoff| {
        let latest = view.seen.latest(&container.name)?;
        exit_code(latest)?;
        Some(backoff.until(finished_at(latest)))
    });
    failure.max(crash)
}

/// Forgets instances and sandboxes that nobody asks for any more.
fn tidy(view: View, plan: &mut Plan) {
    for (_, container) in spec::containers(view.pod) {
        for old in view.seen.instances(&container.name).skip(KEPT) {
            if !is_running(old) {
                plan.steps.push(Step::Remove { id: old.id.clone() });
            }
        }
    }
    let all = spec::containers(view.pod);
    if has_started_mains(view, &all) {
        plan.steps.extend(view.seen.old.iter().map(|old| Step::Forget { id: old.id.clone() }));
    }
}

#[cfg(test)]
mod tests;
