//! The task of one Pod: looks, plans, tells, does; then waits until something happens.
//!
//! ```text
//! Pod, runtime events, probes, hooks ──wake──▶ look ─▶ plan ─▶ status ─▶ steps ─▶ look again
//!                                               ▲                      none │
//!                                               └──────── wait ◀────────────┘
//! ```

use super::memory::{Cause, End, Memory, Results};
use super::plan::{Plan, Step, View, outcome, plan};
use super::probe::Probes;
use super::registry::Registry;
use super::seen::{Seen, is_running};
use super::shared::{Letter, News, Probe, Shared};
use super::spec;
use super::status;
use super::wire;
use super::writer::Writer;
use crate::clock::{self, Nanos};
use crate::ctx::Ctx;
use crate::volume::{self, Volumes};
use client::DeleteOptions;
use k8s_openapi::api::core::v1::Pod;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// After a step that failed for no reason of the Pod's, nothing is tried for this long.
const PAUSE: Nanos = clock::SECOND;
/// The longest pause between two tries to delete the API object.
const LONGEST: Duration = Duration::from_secs(5);

/// The worker of one Pod.
pub(crate) struct Worker {
    pub(super) ctx: Arc<Ctx>,
    pub(super) shared: Arc<Shared>,
    pub(super) pod: Arc<Pod>,
    pub(super) seen: Seen,
    pub(super) memory: Memory,
    pub(super) volumes: Volumes,
    probes: Probes,
    writer: Arc<Writer>,
    registry: Weak<Registry>,
    /// Until when no step is tried.
    pause: Nanos,
    /// Volumes must be written again.
    stale: bool,
}

impl Worker {
    /// For a Pod and what the runtime has of it. `rejected` says why the node does not take it.
    pub(crate) fn new(
        ctx: Arc<Ctx>,
        shared: Arc<Shared>,
        seen: Seen,
        rejected: Option<(String, String)>,
        registry: Weak<Registry>,
    ) -> Self {
        let pod = shared.pod();
        let now = clock::now();
        let mut memory = Memory::new(&pod, now);
        let writer = Writer::new(ctx.client.clone(), shared.id.clone(), &pod, ctx.shutdown.clone());
        for container in seen.running() {
            let before = memory.before.get(&container.config.name);
            let started = before.and_then(|status| status.started).filter(|started| *started);
            let ready = before.map(|status| status.ready);
            let results = Results { started, ready, ..Results::default() };
            memory.probes.insert(container.id.clone(), results);
        }
        memory.rejected = rejected.is_some() || (seen.sandbox.is_none() && was_rejected(&pod));
        if let Some((reason, message)) = rejected {
            memory.end = Some(End { cause: Cause::Failed { reason, message }, deadline: now });
        }
        let probes = Probes::default();
        let volumes = Volumes::default();
        let (pause, stale) = (0, seen.is_standing());
        let mut worker = Self {
            ctx,
            shared,
            pod,
            seen,
            memory,
            volumes,
            probes,
            writer,
            registry,
            pause,
            stale,
        };
        worker.memory.ips = worker.known_ips();
        wire::open_ports(&worker.ctx, &worker.shared.id, &worker.pod, &worker.memory.ips);
        worker
    }

    /// The Pod's addresses as an earlier agent has left them.
    fn known_ips(&self) -> Vec<IpAddr> {
        if !self.seen.is_standing() {
            return Vec::new();
        }
        if spec::host_network(&self.pod) {
            return vec![self.ctx.config.node_ip];
        }
        let uid = &self.shared.id.uid;
        if let Some(network) = &self.ctx.network {
            return network.address(uid).map(|address| address.ip.into()).into_iter().collect();
        }
        let stored = self.pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let ip: Option<IpAddr> = stored.and_then(|ip| ip.parse().ok());
        if let Some(IpAddr::V4(ip)) = ip {
            self.ctx.addresses.keep(uid, ip);
        }
        ip.into_iter().collect()
    }

    /// What decisions are made of.
    pub(super) fn view(&self) -> View<'_> {
        View { pod: &self.pod, seen: &self.seen, memory: &self.memory, now: clock::now() }
    }

    /// Works until the Pod is gone or the agent ends.
    pub(crate) async fn run(mut self) {
        let shutdown = self.ctx.shutdown.clone();
        shutdown.guard(self.work()).await;
    }

    /// The loop.
    async fn work(&mut self) {
        loop {
            let letter = self.shared.take();
            self.read(letter);
            self.look().await;
            self.check_deadline();
            let mut plan = plan(self.view());
            self.hold(&mut plan);
            self.watch();
            self.tell(&plan);
            if plan.over && self.memory.end.as_ref().is_some_and(|end| is_deletion(&end.cause)) {
                return self.leave().await;
            }
            if plan.steps.is_empty() {
                self.renew().await;
                self.wait(plan.wake).await;
                continue;
            }
            for step in plan.steps {
                if let Err(error) = self.step(step).await {
                    let error = error.text();
                    tracing::warn!(pod = self.shared.id.name, error, "step failed");
                    self.pause = clock::now() + PAUSE;
                    break;
                }
            }
        }
    }

    /// Takes in what was told.
    fn read(&mut self, letter: Letter) {
        if !Arc::ptr_eq(&letter.pod, &self.pod) {
            // All else that a Pod may know about itself never changes.
            let (old, new) = (&self.pod.metadata, &letter.pod.metadata);
            let same = old.labels == new.labels && old.annotations == new.annotations;
            self.pod = letter.pod;
            self.writer.observed(&self.pod);
            self.stale |= !same && self.seen.is_standing() && self.has_downward();
        }
        if letter.retell {
            self.writer.forget();
        }
        if letter.refresh {
            self.stale = true;
            self.memory.hurry(clock::now());
        }
        for news in letter.news {
            self.hear(news);
        }
        let grace = clock::seconds(spec::grace(&self.pod));
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        if letter.gone {
            self.end(Cause::Gone, grace);
        } else if deleted {
            self.end(Cause::Deleted, grace);
        }
    }

    /// Whether a volume shows the Pod to itself.
    fn has_downward(&self) -> bool {
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        volumes.into_iter().flatten().any(|volume| {
            let sources = volume.projected.as_ref().and_then(|all| all.sources.as_ref());
            let projected = sources.into_iter().flatten().any(|one| one.downward_api.is_some());
            volume.downward_api.is_some() || projected
        })
    }

    /// Takes in one piece of news.
    fn hear(&mut self, news: News) {
        match news {
            News::Probed { id, probe, good } => {
                let results = self.memory.probes.entry(id).or_default();
                match probe {
                    Probe::Startup => results.started = Some(good),
                    Probe::Liveness => results.alive = Some(good),
                    Probe::Readiness => results.ready = Some(good),
                }
            }
            News::Hooked { id, failed } => {
                self.memory.hooks.remove(&id);
                self.memory.probes.entry(id).or_default().hook_failed |= failed;
            }
            News::Stopped { id } => {
                self.memory.killing.remove(&id);
            }
        }
    }

    /// The Pod must end. A deletion overrules a failure; a shorter time overrules a longer one.
    fn end(&mut self, cause: Cause, grace: Nanos) {
        let deadline = clock::now() + grace;
        match &mut self.memory.end {
            Some(end) => {
                end.deadline = end.deadline.min(deadline);
                if is_deletion(&cause) {
                    end.cause = cause;
                }
            }
            None => self.memory.end = Some(End { cause, deadline }),
        }
    }

    /// Ends a Pod whose time is up.
    fn check_deadline(&mut self) {
        let Some(at) = self.deadline() else { return };
        if clock::now() < at || self.memory.end.is_some() || outcome(self.view()).is_some() {
            return;
        }
        let reason = "DeadlineExceeded".to_owned();
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        let kind = client::events::Type::Normal;
        self.ctx.tell(&self.pod, None, kind, &reason, &message);
        self.end(Cause::Failed { reason, message }, clock::seconds(spec::grace(&self.pod)));
    }

    /// When the Pod's time is up.
    fn deadline(&self) -> Option<Nanos> {
        let limit = self.pod.spec.as_ref()?.active_deadline_seconds?;
        Some(self.memory.started_at + clock::seconds(limit))
    }

    /// Keeps steps back during a pause.
    fn hold(&self, plan: &mut Plan) {
        if self.pause > clock::now() && !plan.steps.is_empty() {
            plan.steps.clear();
            plan.wake = Some(self.pause);
        }
    }

    /// Brings probes in line.
    fn watch(&mut self) {
        let view =
            View { pod: &self.pod, seen: &self.seen, memory: &self.memory, now: clock::now() };
        self.probes.sync(&self.ctx, &self.shared, view);
    }

    /// Tells the API server, the node's own server and the registry.
    fn tell(&self, plan: &Plan) {
        self.shared.show(Arc::new(self.seen.clone()));
        let gone = self.memory.end.as_ref().is_some_and(|end| end.cause == Cause::Gone);
        if !gone {
            let status = status::status(self.view(), &self.ctx.facts());
            self.writer.write(status, plan.steps.is_empty());
        }
    }

    /// Writes volumes again that may have changed.
    async fn renew(&mut self) {
        let due = self.volumes.renew_at().is_some_and(|at| at <= clock::now());
        let alive = self.seen.is_standing() && !self.memory.released && self.memory.end.is_none();
        if !(self.stale || due) || !alive || !self.ctx.config.files {
            return;
        }
        self.stale = false;
        let place = self.ctx.place(&self.memory.ips);
        let prepared = self.volumes.prepare(&self.ctx, &self.shared, &self.pod, &place).await;
        if let Err(error) = prepared {
            let note = error.text();
            let kind = client::events::Type::Warning;
            self.ctx.tell(&self.pod, None, kind, "FailedMount", &note);
        }
    }

    /// Waits until something happens.
    async fn wait(&self, wake: Option<Nanos>) {
        let deadline = self.deadline().filter(|_| self.memory.end.is_none());
        let renewal = self.volumes.renew_at().filter(|_| self.memory.end.is_none());
        let now = clock::now();
        // What is past has been looked at, or it would not be past when we wait.
        let next = [wake, deadline, renewal].into_iter().flatten().filter(|at| *at > now).min();
        match next {
            None => self.shared.woken().await,
            Some(at) => {
                let sleep = tokio::time::sleep(clock::until(now, at) + Duration::from_millis(1));
                tokio::select! {
                    () = self.shared.woken() => {}
                    () = sleep => {}
                }
            }
        }
    }

    /// Does one thing.
    async fn step(&mut self, step: Step) -> crate::Result<()> {
        match step {
            Step::Sandbox { attempt } => self.make_sandbox(attempt).await,
            Step::Drop { id } => self.drop_sandbox(&id).await?,
            Step::Start { kind, name, attempt } => self.start(kind, &name, attempt).await,
            Step::Kill { id, name, why, deadline } => self.kill(id, &name, why, deadline),
            Step::Remove { id } => {
                self.ctx.runtime.remove_container(&id).await?;
                self.seen.containers.retain(|container| container.id != id);
            }
            Step::Forget { id } => {
                self.ctx.runtime.remove_pod_sandbox(&id).await?;
                self.seen.old.retain(|sandbox| sandbox.id != id);
                self.seen.containers.retain(|container| container.sandbox != id);
            }
            Step::Release => self.release().await?,
        }
        Ok(())
    }

    /// The Pod is over: its last status, its API object, and what is left of it here.
    async fn leave(&mut self) {
        let mut pause = Duration::from_millis(100);
        self.writer.flushed().await;
        let id = self.shared.id.clone();
        let options = DeleteOptions { uid: Some(id.uid.clone()), ..DeleteOptions::now() };
        while !self.shared.is_gone() {
            let deleted = self.ctx.client.delete::<Pod>(&id.namespace, &id.name, &options).await;
            match deleted {
                Ok(()) => break,
                Err(error) if error.is_not_found() => break,
                // Another Pod of that name is there, and ours is long gone.
                Err(error) if error.is_conflict() && stdx::chain(&error).contains("UID") => break,
                Err(error) => {
                    tracing::debug!(pod = id.name, error = %stdx::chain(&error), "not deleted");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shared.woken() => {}
                    }
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
        self.clean().await;
        if let Some(registry) = self.registry.upgrade() {
            registry.finished(&self.shared);
        }
    }

    /// Forgets everything of the Pod: sandboxes, files, logs.
    async fn clean(&mut self) {
        let id = &self.shared.id;
        for sandbox in self.seen.sandbox.iter().chain(&self.seen.old) {
            if let Err(error) = self.ctx.runtime.remove_pod_sandbox(&sandbox.id).await {
                let error = stdx::chain(&error);
                tracing::warn!(pod = id.name, error, "sandbox not removed");
            }
        }
        self.ctx.objects.release(&id.uid);
        if self.ctx.config.files
            && let Err(error) = volume::remove(self.ctx.config.pod_dir(&id.uid)).await
        {
            tracing::warn!(pod = id.name, error = error.text(), "volumes not removed");
        }
        let logs = self.ctx.config.pod_logs(&id.namespace, &id.name, &id.uid);
        if let Err(error) = tokio::fs::remove_dir_all(&logs).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(pod = id.name, %error, "logs not removed");
        }
    }

    /// Whether a container of this Pod runs.
    pub(super) fn is_running(&self, id: &str) -> bool {
        self.seen.containers.iter().any(|container| container.id == id && is_running(container))
    }
}

/// Whether a node has told that it does not take a Pod.
fn was_rejected(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.is_some_and(|status| {
        status.phase.as_deref() == Some("Failed") && status.container_statuses.is_none()
    })
}

/// Whether a Pod ends because it was deleted.
fn is_deletion(cause: &Cause) -> bool {
    matches!(cause, Cause::Deleted | Cause::Gone)
}
