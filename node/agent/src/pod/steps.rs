//! What a worker does: sandboxes, containers, stops, and giving everything back.

use super::container::{Recipe, pod_labels};
use super::env::{self, Sources};
use super::kill::Stop;
use super::plan::Why;
use super::probe::check::Target;
use super::seen::exit_code;
use super::shared::News;
use super::spec::{self, Kind};
use super::wire::{self, Wire};
use super::worker::Worker;
use super::{dns, hooks, images, probe, qos, security, service_env};
use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use client::events::Type;
use k8s_openapi::api::core::v1::Container;
use runtime::{ContainerConfig, Image, NamespaceMode, SandboxConfig};
use std::path::PathBuf;
use std::time::Duration;

/// A postStart hook gets so long at most.
const MAX_HOOK: Duration = Duration::from_secs(3600);

/// The word for a container whose process could not be made.
const CANNOT_RUN: &str = "RunContainerError";

/// The word for a container whose settings make no sense.
const BAD_CONFIG: &str = "CreateContainerConfigError";

/// A container that could not be started: status reason, and the text.
struct Refusal {
    reason: &'static str,
    message: String,
}

impl Refusal {
    /// With the text of an error.
    fn new(reason: &'static str, error: &Error) -> Self {
        Self { reason, message: error.text() }
    }
}

impl Worker {
    /// Makes volumes, network and sandbox; a failure is remembered with a delay.
    pub(super) async fn make_sandbox(&mut self, attempt: u32) {
        let place = self.ctx.place(&[]);
        let volumes = async {
            match self.ctx.config.files {
                true => self.volumes.prepare(&self.ctx, &self.shared, &self.pod, &place).await,
                false => Ok(()),
            }
        };
        let wire = wire::connect(&self.ctx, &self.shared.id, &self.pod);
        let (volumes, wire) = tokio::join!(volumes, wire);
        if let Err(error) = volumes {
            return self.stumble("FailedMount", error.text());
        }
        let made = match wire {
            Ok(wire) => self.sandbox(attempt, wire).await,
            Err(error) => Err(error),
        };
        match made {
            Ok(()) => self.memory.trouble = None,
            Err(error) => {
                let note = format!("Failed to create pod sandbox: {}", error.text());
                self.stumble("FailedCreatePodSandBox", note);
            }
        }
    }

    /// Remembers that the sandbox could not be made, and says so.
    fn stumble(&mut self, reason: &str, note: String) {
        self.ctx.tell(&self.pod, None, Type::Warning, reason, &note);
        self.memory.stumble(reason, note, clock::now());
    }

    /// Makes the sandbox of a Pod that is wired.
    async fn sandbox(&mut self, attempt: u32, wire: Wire) -> Result<()> {
        self.memory.ips = wire.ips;
        if self.ctx.config.files {
            self.write_files().await?;
        }
        let config = self.sandbox_config(attempt, wire.netns);
        let sandbox = self.ctx.runtime.run_pod_sandbox(config).await?;
        let old = self.seen.sandbox.replace(sandbox);
        self.seen.old.extend(old);
        // From here on the sandbox's events must find us.
        self.shared.show(std::sync::Arc::new(self.seen.clone()));
        self.memory.released = false;
        Ok(())
    }

    /// The sandbox as the runtime wants it.
    fn sandbox_config(&self, attempt: u32, netns: Option<PathBuf>) -> SandboxConfig {
        let (pod, id) = (&self.pod, &self.shared.id);
        let spec = pod.spec.as_ref();
        let mode = |host: Option<bool>| match host {
            Some(true) => NamespaceMode::Node,
            _ => NamespaceMode::Pod,
        };
        let fqdn = spec.and_then(|spec| spec.set_hostname_as_fqdn).unwrap_or(false);
        let full = spec::fqdn(pod, &self.ctx.config.cluster_domain).filter(|_| fqdn);
        let hostname = match spec::host_network(pod) {
            true => String::new(),
            false => full.unwrap_or_else(|| spec::hostname(pod)),
        };
        let context = spec.and_then(|spec| spec.security_context.as_ref());
        let sysctls = context.and_then(|context| context.sysctls.as_ref());
        let sysctls = sysctls.into_iter().flatten();
        SandboxConfig {
            name: id.name.clone(),
            namespace: id.namespace.clone(),
            uid: id.uid.clone(),
            attempt,
            hostname,
            network: mode(spec.and_then(|spec| spec.host_network)),
            netns,
            ipc: mode(spec.and_then(|spec| spec.host_ipc)),
            pid: mode(spec.and_then(|spec| spec.host_pid)),
            share_processes: spec.and_then(|spec| spec.share_process_namespace).unwrap_or(false),
            sysctls: sysctls.map(|one| (one.name.clone(), one.value.clone())).collect(),
            cgroup: qos::cgroup(pod),
            resources: qos::pod(pod),
            labels: pod_labels(pod, id),
        }
    }

    /// Writes hosts and resolver files.
    async fn write_files(&self) -> Result<()> {
        let config = &self.ctx.config;
        let dir = config.pod_dir(&self.shared.id.uid);
        tokio::fs::create_dir_all(&dir).await.map_err(Error::io("make", &dir))?;
        // A machine without these files has nothing to add.
        let node = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
        let own = tokio::fs::read_to_string(&config.resolv_conf).await.unwrap_or_default();
        let hosts = dns::hosts(&self.pod, &self.memory.ips, &config.cluster_domain, &node);
        let own = dns::Resolver::parse(&own);
        let resolver =
            dns::resolver(&self.pod, &config.cluster_dns, &config.cluster_domain, &own).text();
        for (name, text) in [("etc-hosts", hosts), ("resolv.conf", resolver)] {
            let file = dir.join(name);
            tokio::fs::write(&file, text).await.map_err(Error::io("write", &file))?;
        }
        Ok(())
    }

    /// Lets a sandbox go that stands no more; its containers count as ended.
    pub(super) async fn drop_sandbox(&mut self, id: &str) -> Result<()> {
        let note = "Pod sandbox changed, it will be killed and re-created.";
        self.ctx.tell(&self.pod, None, Type::Normal, "SandboxChanged", note);
        self.ctx.runtime.stop_pod_sandbox(id).await?;
        wire::disconnect(&self.ctx, &self.shared.id, &self.pod).await?;
        self.look().await;
        Ok(())
    }

    /// Makes and starts a container; a failure is remembered with a delay.
    pub(super) async fn start(&mut self, kind: Kind, name: &str, attempt: u32) {
        let pod = self.pod.clone();
        let Some((_, container)) = spec::container(&pod, name) else { return };
        let about = Some((kind, name));
        match self.try_start(kind, &container, attempt).await {
            Ok(id) => {
                self.memory.failures.remove(name);
                // The first start is free; every further one lengthens the pause before the next.
                if attempt > 0 {
                    self.memory.raise(name, clock::now());
                }
                self.after_start(kind, &container, id);
            }
            Err(Refusal { reason, message }) => {
                let image = reason.contains("Image");
                let note = format!("Error: {}", if image { reason } else { &message });
                self.ctx.tell(&pod, about, Type::Warning, "Failed", &note);
                let now = clock::now();
                match self.seen.here(name).is_some_and(|here| here.config.attempt == attempt) {
                    true => self.memory.fail_start(name, attempt, reason, message, now),
                    false => self.memory.fail(name, reason, message, now),
                }
            }
        }
    }

    /// Makes and starts a container; its id is the answer.
    async fn try_start(
        &mut self,
        kind: Kind,
        container: &Container,
        attempt: u32,
    ) -> Result<String, Refusal> {
        let image = self.find_image(kind, container).await?;
        let allowed = security::verify_non_root(&self.pod, container, &image.user);
        allowed.map_err(|message| Refusal { reason: BAD_CONFIG, message })?;
        let config = self.container_config(container, attempt).await;
        let config = config.map_err(|error| Refusal::new(BAD_CONFIG, &error))?;
        let sandbox = self.seen.sandbox.as_ref().map(|sandbox| sandbox.id.clone());
        let sandbox = sandbox.unwrap_or_default();
        let runtime = self.ctx.runtime.clone();
        let about = Some((kind, container.name.as_str()));
        let id = runtime.create_container(&sandbox, config).await.map_err(|error| {
            let reason = match &error {
                runtime::Error::Oci { .. } => CANNOT_RUN,
                runtime::Error::Invalid(_) => BAD_CONFIG,
                _ => "CreateContainerError",
            };
            Refusal { reason, message: stdx::chain(&error) }
        })?;
        self.ctx.tell(&self.pod, about, Type::Normal, "Created", "Container created");
        if let Err(error) = runtime.start_container(&id).await {
            self.not_started(&id).await;
            return Err(Refusal { reason: CANNOT_RUN, message: stdx::chain(&error) });
        }
        self.ctx.tell(&self.pod, about, Type::Normal, "Started", "Container started");
        match runtime.inspect_container(&id).await {
            Ok(made) => self.seen.containers.push(made),
            Err(error) => {
                return Err(Refusal { reason: CANNOT_RUN, message: stdx::chain(&error) });
            }
        }
        Ok(id)
    }

    /// Keeps a container whose process could not be made: it counts as an instance that has ended.
    async fn not_started(&mut self, id: &str) {
        let runtime = self.ctx.runtime.clone();
        match runtime.inspect_container(id).await {
            Ok(made) if exit_code(&made).is_some() => self.seen.containers.push(made),
            _ => {
                if let Err(error) = runtime.remove_container(id).await {
                    let error = stdx::chain(&error);
                    tracing::warn!(container = id, error, "container not removed");
                }
            }
        }
    }

    /// Finds the container's image, and says so.
    async fn find_image(&self, kind: Kind, container: &Container) -> Result<Image, Refusal> {
        let about = Some((kind, container.name.as_str()));
        let image = container.image.as_deref().unwrap_or_default();
        let before = self.memory.failures.get(&container.name);
        let again = before.is_some_and(|failure| failure.reason.contains("Pull"));
        let policy = images::policy(container);
        match images::find(&*self.ctx.runtime, image, policy, again).await {
            Ok(found) => {
                let note = format!(
                    "Container image \"{image}\" already present on machine and can be accessed by \
                     the pod"
                );
                self.ctx.tell(&self.pod, about, Type::Normal, "Pulled", &note);
                Ok(found)
            }
            Err(missing) => {
                let (reason, kind, note) = match missing.reason {
                    "ImagePullBackOff" => {
                        ("BackOff", Type::Normal, format!("Back-off pulling image \"{image}\""))
                    }
                    "ErrImageNeverPull" => {
                        ("ErrImageNeverPull", Type::Warning, missing.detail.clone())
                    }
                    _ => ("Failed", Type::Warning, missing.detail.clone()),
                };
                self.ctx.tell(&self.pod, about, kind, reason, &note);
                let message = missing.message;
                Err(Refusal { reason: missing.reason, message })
            }
        }
    }

    /// The container as the runtime wants it.
    async fn container_config(
        &self,
        container: &Container,
        attempt: u32,
    ) -> Result<ContainerConfig> {
        let sources = self.sources(container).await?;
        let env = env::environment(&self.pod, container, &sources).map_err(Error::Pod)?;
        Recipe {
            config: &self.ctx.config,
            pod: &self.pod,
            container,
            attempt,
            env,
            memory: self.ctx.memory(),
            least_score: self.ctx.least_score,
            image: container.image.clone().unwrap_or_default(),
        }
        .build()
    }

    /// Fetches what a container's environment refers to.
    async fn sources(&self, container: &Container) -> Result<Sources> {
        let (maps, secrets) = env::references(container);
        let mut sources = Sources { place: self.ctx.place(&self.memory.ips), ..Sources::default() };
        for name in maps {
            let found = self.ctx.objects.config_map(&self.shared, &name).await?;
            sources.config_maps.insert(name, found);
        }
        for name in secrets {
            let found = self.ctx.objects.secret(&self.shared, &name).await?;
            sources.secrets.insert(name, found);
        }
        self.ctx.services.synced().await;
        let namespace = self.shared.id.namespace.as_str();
        let mut services = self.ctx.services.list_ns(namespace);
        if namespace != "default" {
            services.extend(self.ctx.services.get("default", "kubernetes"));
        }
        let links = self.pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
        let links = links.unwrap_or(true);
        sources.services = service_env::variables(&services, namespace, links);
        Ok(sources)
    }

    /// Runs the postStart hook of a container that has just started.
    fn after_start(&mut self, kind: Kind, container: &Container, id: String) {
        let hook = container.lifecycle.as_ref().and_then(|all| all.post_start.clone());
        let (Some(hook), true) = (hook, self.is_running(&id)) else { return };
        let Some(ip) = probe::address(&self.ctx, self.view()) else { return };
        self.memory.hooks.insert(id.clone());
        let target = Target { id: id.clone(), ip, container: container.clone() };
        let (ctx, shared) = (self.ctx.clone(), self.shared.clone());
        stdx::task::spawn("post-start", async move {
            let result = hooks::run(&*ctx.runtime, &target, &hook, MAX_HOOK).await;
            if let Err(error) = &result {
                let name = target.container.name.as_str();
                tracing::info!(container = name, error, "postStart hook failed");
                let (pod, reason) = (shared.pod(), "FailedPostStartHook");
                let note = "PostStartHook failed";
                ctx.tell(&pod, Some((kind, name)), Type::Warning, reason, note);
            }
            shared.tell(News::Hooked { id, failed: result.is_err() });
        });
    }

    /// Begins to stop a container.
    pub(super) fn kill(&mut self, id: String, name: &str, why: Why, deadline: Nanos) {
        let again = self.memory.killing.insert(id.clone(), deadline).is_some();
        let (kind, container) = match spec::container(&self.pod, name) {
            Some((kind, container)) => (kind, container.into_owned()),
            None => (Kind::Main, Container { name: name.to_owned(), ..Container::default() }),
        };
        // Without an address only hooks over the network fail.
        let ip = probe::address(&self.ctx, self.view()).unwrap_or(self.ctx.config.node_ip);
        let restarts =
            why != Why::PodEnds && spec::should_restart(&self.pod, kind, &container, 137);
        let stop = Stop {
            ctx: self.ctx.clone(),
            shared: self.shared.clone(),
            target: Target { id, ip, container },
            kind,
            why,
            restarts,
            deadline,
            again,
        };
        stdx::task::spawn("stop-container", stop.run());
    }

    /// Gives back sandbox, network and volumes; the records stay for status and logs.
    pub(super) async fn release(&mut self) -> Result<()> {
        for sandbox in self.seen.sandbox.iter().chain(&self.seen.old) {
            self.ctx.runtime.stop_pod_sandbox(&sandbox.id).await?;
        }
        if let Some(sandbox) = &mut self.seen.sandbox {
            sandbox.ready = false;
        }
        wire::disconnect(&self.ctx, &self.shared.id, &self.pod).await?;
        self.look().await;
        if self.ctx.config.files {
            // Last words were read; volumes of an ended Pod are of no use to anybody.
            crate::volume::remove(self.ctx.config.pod_dir(&self.shared.id.uid)).await?;
        }
        self.memory.released = true;
        Ok(())
    }
}
