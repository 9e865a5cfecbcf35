//! Probes: one small task per probe of a running container, which tells the worker only when its
//! verdict changes.
//!
//! Liveness and readiness begin when the startup probe has succeeded. A verdict needs
//! `successThreshold` good or
//! `failureThreshold` bad results in a row.

pub(crate) mod check;
mod exec;
mod grpc;
pub(crate) mod http;
mod insecure;

pub(crate) use exec::run as run_command;

use super::plan::View;
use super::seen::is_running;
use super::shared::{News, Probe, Shared};
use super::spec::{self, Kind};
use crate::clock::{self, Nanos};
use crate::ctx::Ctx;
use check::Target;
use client::events::Type;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A good or bad streak turned into a verdict. Pure.
#[derive(Clone, Debug)]
struct Tally {
    good: u32,
    bad: u32,
    needs_good: u32,
    needs_bad: u32,
    verdict: Option<bool>,
}

impl Tally {
    /// With the thresholds of a probe and the verdict to begin with.
    fn new(probe: &k8s_openapi::api::core::v1::Probe, verdict: Option<bool>) -> Self {
        let number = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        Self {
            good: 0,
            bad: 0,
            needs_good: number(probe.success_threshold, 1),
            needs_bad: number(probe.failure_threshold, 3),
            verdict,
        }
    }

    /// Takes one result; a new verdict is the answer.
    fn add(&mut self, good: bool) -> Option<bool> {
        (self.good, self.bad) = if good { (self.good + 1, 0) } else { (0, self.bad + 1) };
        let reached = if good { self.good >= self.needs_good } else { self.bad >= self.needs_bad };
        if !reached || self.verdict == Some(good) {
            return None;
        }
        self.verdict = Some(good);
        self.verdict
    }
}

/// The running probes of one Pod. Dropping it ends them.
#[derive(Default)]
pub(crate) struct Probes(HashMap<(String, Probe), JoinHandle<()>>);

impl Drop for Probes {
    fn drop(&mut self) {
        for task in self.0.values() {
            task.abort();
        }
    }
}

/// The probe of a container of that part, if it has one.
fn of(container: &Container, probe: Probe) -> Option<&k8s_openapi::api::core::v1::Probe> {
    match probe {
        Probe::Startup => container.startup_probe.as_ref(),
        Probe::Liveness => container.liveness_probe.as_ref(),
        Probe::Readiness => container.readiness_probe.as_ref(),
    }
}

/// Probes that should run now, as (container, instance, which).
fn wanted<'a>(
    view: View<'a>,
    all: &'a [(Kind, std::borrow::Cow<'a, Container>)],
) -> Vec<Wanted<'a>> {
    let mut wanted = Vec::new();
    for (kind, container) in all {
        let Some(here) = view.seen.here(&container.name).filter(|here| is_running(here)) else {
            continue;
        };
        if !matches!(kind, Kind::Main | Kind::Sidecar) {
            continue;
        }
        let results = view.memory.probes.get(&here.id).copied().unwrap_or_default();
        let ending = view.memory.end.is_some();
        let started = super::plan::is_started(view, container, &here.id);
        for probe in [Probe::Startup, Probe::Liveness, Probe::Readiness] {
            let due = match probe {
                Probe::Startup => results.started.is_none() && !ending,
                Probe::Liveness => started && results.alive != Some(false) && !ending,
                Probe::Readiness => started,
            };
            if let Some(spec) = of(container, probe).filter(|_| due) {
                let ready = results.ready;
                wanted.push(Wanted { kind: *kind, container, here, probe, spec, ready });
            }
        }
    }
    wanted
}

/// A probe that should run.
struct Wanted<'a> {
    kind: Kind,
    container: &'a Container,
    here: &'a runtime::Container,
    probe: Probe,
    spec: &'a k8s_openapi::api::core::v1::Probe,
    ready: Option<bool>,
}

impl Probes {
    /// Starts and ends tasks so that exactly the wanted probes run.
    pub(crate) fn sync(&mut self, ctx: &Arc<Ctx>, shared: &Arc<Shared>, view: View) {
        let all = spec::containers(view.pod);
        let wanted = wanted(view, &all);
        self.0.retain(|(id, probe), task| {
            let keep = wanted.iter().any(|one| one.here.id == *id && one.probe == *probe);
            if !keep {
                task.abort();
            }
            keep
        });
        for one in wanted {
            let key = (one.here.id.clone(), one.probe);
            if self.0.contains_key(&key) {
                continue;
            }
            let Some(ip) = address(ctx, view) else { continue };
            let verdict = match one.probe {
                Probe::Startup => None,
                Probe::Liveness => Some(true),
                Probe::Readiness => Some(one.ready.unwrap_or(false)),
            };
            let runner = Runner {
                ctx: ctx.clone(),
                shared: shared.clone(),
                target: Target { id: one.here.id.clone(), ip, container: one.container.clone() },
                kind: one.kind,
                probe: one.probe,
                spec: one.spec.clone(),
                tally: Tally::new(one.spec, verdict),
                since: one.here.started_at,
            };
            self.0.insert(key, stdx::task::spawn("probe", runner.run()));
        }
    }
}

/// The address that probes of a Pod go to.
pub(crate) fn address(ctx: &Ctx, view: View) -> Option<IpAddr> {
    match spec::host_network(view.pod) {
        true => Some(ctx.config.node_ip),
        false => view.memory.ips.first().copied(),
    }
}

/// One probe's task.
struct Runner {
    ctx: Arc<Ctx>,
    shared: Arc<Shared>,
    target: Target,
    kind: Kind,
    probe: Probe,
    spec: k8s_openapi::api::core::v1::Probe,
    tally: Tally,
    /// When the container started.
    since: Nanos,
}

impl Runner {
    /// Probes until the verdict is final or the task is aborted.
    async fn run(mut self) {
        let seconds = |value: Option<i32>, default: i64| {
            clock::seconds(value.map(i64::from).filter(|seconds| *seconds > 0).unwrap_or(default))
        };
        let first = self.since + seconds(self.spec.initial_delay_seconds, 0);
        let period = clock::until(0, seconds(self.spec.period_seconds, 10));
        let timeout = clock::until(0, seconds(self.spec.timeout_seconds, 1));
        let mut next = tokio::time::Instant::now() + clock::until(clock::now(), first);
        loop {
            tokio::time::sleep_until(next).await;
            next = (next + period).max(tokio::time::Instant::now() + Duration::from_millis(1));
            // A simulated Pod has no network: what would go over it succeeds while the container runs.
            let reached = self.ctx.config.files || self.spec.exec.is_some();
            let result = match reached {
                true => check::check(&*self.ctx.runtime, &self.target, &self.spec, timeout).await,
                false => Ok(()),
            };
            if let Err(text) = &result {
                self.complain(text);
            }
            let Some(good) = self.tally.add(result.is_ok()) else { continue };
            let id = self.target.id.clone();
            self.shared.tell(News::Probed { id, probe: self.probe, good });
            let is_final = match self.probe {
                Probe::Startup => true,
                Probe::Liveness => !good,
                Probe::Readiness => false,
            };
            if is_final {
                return;
            }
        }
    }

    /// Records a failed probe.
    fn complain(&self, text: &str) {
        let word = match self.probe {
            Probe::Startup => "Startup",
            Probe::Liveness => "Liveness",
            Probe::Readiness => "Readiness",
        };
        let note = format!("{word} probe failed: {text}");
        let pod: Arc<Pod> = self.shared.pod();
        let container = Some((self.kind, self.target.container.name.as_str()));
        self.ctx.tell(&pod, container, Type::Warning, "Unhealthy", &note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_a_streak_and_is_told_once() {
        let spec = k8s_openapi::api::core::v1::Probe {
            success_threshold: Some(2),
            failure_threshold: Some(3),
            ..Default::default()
        };
        let mut tally = Tally::new(&spec, Some(false));
        let verdicts: Vec<_> = [true, true, true, false, false, true, false, false, false, false]
            .into_iter()
            .map(|good| tally.add(good))
            .collect();
        let none = None::<bool>;
        let wanted = [none, Some(true), none, none, none, none, none, none, Some(false), none];
        assert_eq!(verdicts, wanted);
    }
}
