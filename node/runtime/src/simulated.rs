//! The `simulated` driver: sandboxes and containers that exist in memory only, with programmable
//! outcomes.
//!
//! What a container does is written in its pod, see [`behaviour`]. Without a wish it runs until it
//! is stopped. Tests reach the same through [`Simulated::finish`]. There is no network: the caller
//! chooses the pods' addresses.
//!
//! A container costs a record of its settings and nothing else: no task, no file (unless it logs),
//! no timer (unless it ends by itself).

mod behaviour;
#[cfg(test)]
mod tests;

use crate::shim::now_nanos;
use crate::{
    Config, Container, ContainerConfig, ContainerState, Duplex, Error, Event, Exec, Exit, Image,
    Resources, Result, Runtime, Sandbox, SandboxConfig, Session, Stats, Version, image, log,
};
use async_trait::async_trait;
use behaviour::Behaviour;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Bytes on their way in a stream.
const PIPE: usize = 16 << 10;

/// The driver. Clones share everything.
#[derive(Clone)]
pub struct Simulated(Arc<Inner>);

/// What clones share.
struct Inner {
    config: Config,
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
}

/// Everything that exists.
#[derive(Default)]
struct State {
    sandboxes: HashMap<String, Sandbox>,
    containers: HashMap<String, Container>,
    images: Vec<Image>,
    next: u64,
}

/// Opens the driver.
pub(crate) fn open(config: Config) -> Result<Arc<dyn Runtime>> {
    Ok(Arc::new(Simulated::new(config)))
}

impl Simulated {
    /// A runtime with nothing in it.
    pub fn new(config: Config) -> Self {
        let events = broadcast::Sender::new(crate::EVENTS);
        Self(Arc::new(Inner { config, state: Mutex::default(), events }))
    }

    /// Ends a container as if its process had.
    pub fn finish(&self, id: &str, code: i32, signal: Option<i32>) {
        let event = {
            let mut state = self.0.state.lock();
            let Some(container) = state.containers.get_mut(id) else { return };
            if !matches!(container.state, ContainerState::Running | ContainerState::Created) {
                return;
            }
            let exit = Exit {
                code,
                signal,
                oom_killed: false,
                finished_at: now_nanos(),
                message: String::new(),
            };
            container.state = ContainerState::Exited(exit.clone());
            container.pid = None;
            Event::Exited { id: id.to_owned(), sandbox: container.sandbox.clone(), exit }
        };
        // Nobody listening is fine.
        let _ = self.0.events.send(event);
    }

    /// A container that must be there.
    fn container(&self, id: &str) -> Result<Container> {
        let found = self.0.state.lock().containers.get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    /// The host name that a container sees.
    fn hostname(&self, container: &Container) -> String {
        let state = self.0.state.lock();
        let config = state.sandboxes.get(&container.sandbox).map(|sandbox| &sandbox.config);
        let named = config.map(|config| match config.hostname.as_str() {
            "" => config.name.clone(),
            name => name.to_owned(),
        });
        named.unwrap_or_default()
    }

    /// What a container shall do.
    fn behaviour(&self, container: &ContainerConfig, sandbox: &str) -> Behaviour {
        let state = self.0.state.lock();
        let notes = state.sandboxes.get(sandbox).map(|sandbox| &sandbox.config.labels);
        Behaviour::of(container, notes)
    }

    /// Writes what the container says into its log, so that `kubectl logs` shows something.
    fn say(&self, config: &ContainerConfig, text: &str) {
        let Some(path) = &config.log_path else { return };
        let Config { log_max_bytes, log_max_files, .. } = self.0.config;
        let written = log::Writer::open(path, log_max_bytes, log_max_files)
            .and_then(|mut writer| writer.write(log::Stream::Stdout, text.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(%error, path = %path.display(), "log not written");
        }
    }
}

/// A session that says `text`, echoes its input, and ends with `code`.
fn echo(exec: &Exec, text: String, code: i32) -> Session {
    let (stdin, mut input) = tokio::io::duplex(PIPE);
    let (stdout, mut output) = tokio::io::duplex(PIPE);
    let (stderr, _) = tokio::io::duplex(1);
    let (resize, _) = mpsc::channel(1);
    let (done, exit) = oneshot::channel();
    let echoes = exec.stdin;
    stdx::task::spawn("simulated", async move {
        let mut written = output.write_all(text.as_bytes()).await;
        let mut buffer = vec![0; 4 << 10];
        while echoes && written.is_ok() {
            match input.read(&mut buffer).await {
                Ok(count) if count > 0 => written = output.write_all(&buffer[..count]).await,
                _ => break,
            }
        }
        drop(output);
        let _ = done.send(Ok(code));
    });
    Session {
        stdin: exec.stdin.then(|| Box::new(stdin) as crate::session::Writer),
        stdout: exec.stdout.then(|| Box::new(stdout) as crate::session::Reader),
        stderr: (exec.stderr && !exec.tty).then(|| Box::new(stderr) as crate::session::Reader),
        resize,
        exit,
    }
}

#[async_trait]
impl Runtime for Simulated {
    async fn version(&self) -> Result<Version> {
        Ok(Version { name: "simulated".into(), version: env!("CARGO_PKG_VERSION").into() })
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        let mut state = self.0.state.lock();
        state.next += 1;
        let id = format!("{:016x}", state.next);
        let created_at = now_nanos();
        let sandbox = Sandbox { id: id.clone(), config, netns: None, ready: true, created_at };
        state.sandboxes.insert(id, sandbox.clone());
        Ok(sandbox)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let own: Vec<String> = {
            let state = self.0.state.lock();
            let own = state.containers.values().filter(|container| container.sandbox == id);
            own.map(|container| container.id.clone()).collect()
        };
        for container in own {
            self.finish(&container, 137, Some(nix::libc::SIGKILL));
        }
        if let Some(sandbox) = self.0.state.lock().sandboxes.get_mut(id) {
            sandbox.ready = false;
        }
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.stop_pod_sandbox(id).await?;
        let mut state = self.0.state.lock();
        state.containers.retain(|_, container| container.sandbox != id);
        state.sandboxes.remove(id);
        Ok(())
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Sandbox>> {
        Ok(self.0.state.lock().sandboxes.values().cloned().collect())
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String> {
        let mut state = self.0.state.lock();
        if !state.sandboxes.contains_key(sandbox) {
            return Err(Error::NotFound(format!("sandbox {sandbox}")));
        }
        state.next += 1;
        let id = format!("{:016x}", state.next);
        let image = image::reference::normalize(&config.image)?;
        let run_as = &config.security.run_as;
        let user = (run_as.uid.unwrap_or(0), run_as.gid.unwrap_or(0), run_as.groups.clone());
        state.containers.insert(
            id.clone(),
            Container {
                id: id.clone(),
                sandbox: sandbox.to_owned(),
                image_id: image_id(&image),
                image,
                state: ContainerState::Created,
                pid: None,
                created_at: now_nanos(),
                started_at: 0,
                user,
                config,
            },
        );
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let made = self.container(id)?;
        let behaviour = self.behaviour(&made.config, &made.sandbox);
        let container = {
            let mut state = self.0.state.lock();
            let container = state.containers.get_mut(id);
            let container = container.ok_or_else(|| Error::NotFound(format!("container {id}")))?;
            if container.state != ContainerState::Created {
                let state = container.state.word();
                return Err(Error::State { id: id.into(), state, wanted: "created" });
            }
            if let Some(message) = &behaviour.start_error {
                return Err(Error::Oci { operation: "start", message: message.clone() });
            }
            container.state = ContainerState::Running;
            container.started_at = now_nanos();
            container.clone()
        };
        self.say(&container.config, &behaviour.says);
        let event = Event::Started { id: id.to_owned(), sandbox: container.sandbox.clone() };
        let _ = self.0.events.send(event);
        if let Some((after, code)) = behaviour.ends {
            let (driver, id) = (self.clone(), container.id.clone());
            stdx::task::spawn("simulated", async move {
                tokio::time::sleep(after).await;
                driver.finish(&id, code, None);
            });
        }
        Ok(())
    }

    async fn stop_container(&self, id: &str, _signal: Option<&str>, grace: Duration) -> Result<()> {
        match grace.is_zero() {
            true => self.finish(id, 137, Some(nix::libc::SIGKILL)),
            false => self.finish(id, 0, None),
        }
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let mut state = self.0.state.lock();
        if state.containers.get(id).is_some_and(|c| c.state == ContainerState::Running) {
            return Err(Error::State { id: id.into(), state: "running", wanted: "stopped" });
        }
        state.containers.remove(id);
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<Container>> {
        Ok(self.0.state.lock().containers.values().cloned().collect())
    }

    async fn inspect_container(&self, id: &str) -> Result<Container> {
        self.container(id)
    }

    async fn update_container(&self, id: &str, resources: &Resources) -> Result<()> {
        let mut state = self.0.state.lock();
        let container = state.containers.get_mut(id);
        let container = container.ok_or_else(|| Error::NotFound(format!("container {id}")))?;
        container.config.resources = resources.clone();
        Ok(())
    }

    async fn container_stats(&self, id: &str) -> Result<Stats> {
        let container = self.container(id)?;
        let request = u64::try_from(container.config.resources.memory_bytes).unwrap_or_default();
        let running = container.state == ContainerState::Running;
        let memory = if running { (request / 2).max(1 << 20) } else { 0 };
        let age = u64::try_from(now_nanos() - container.started_at).unwrap_or_default();
        Ok(Stats {
            at: now_nanos(),
            cpu_nanos: if running { age / 1000 } else { 0 },
            memory_usage: memory,
            memory_working_set: memory,
            memory_rss: memory,
            pids: u64::from(running),
            rootfs_bytes: 0,
        })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    async fn exec(&self, id: &str, exec: Exec) -> Result<Session> {
        let container = self.container(id)?;
        if container.state != ContainerState::Running {
            let state = container.state.word();
            return Err(Error::State { id: id.into(), state, wanted: "running" });
        }
        let hostname = exec.command.first().is_some_and(|word| word == "hostname");
        let (text, code) = match behaviour::script(&exec.command) {
            _ if hostname => (format!("{}\n", self.hostname(&container)), 0),
            Some(script) => (script.says, script.ends.map_or(0, |(_, code)| code)),
            None => (String::new(), 0),
        };
        Ok(echo(&exec, text, code))
    }

    async fn attach(&self, id: &str, exec: Exec) -> Result<Session> {
        let container = self.container(id)?;
        if container.state != ContainerState::Running {
            let state = container.state.word();
            return Err(Error::State { id: id.into(), state, wanted: "running" });
        }
        Ok(echo(&exec, String::new(), 0))
    }

    async fn port_forward(&self, _sandbox: &str, port: u16) -> Result<Box<dyn Duplex>> {
        Err(Error::Unsupported(format!("port {port}: a simulated pod listens on nothing")))
    }

    async fn import_image(&self, archive: &Path) -> Result<Vec<Image>> {
        let name = archive.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        let tag = image::reference::normalize(&name)?;
        let id = image_id(&tag);
        let image = Image { digest: id.clone(), id, tags: vec![tag], ..Image::default() };
        self.0.state.lock().images.push(image.clone());
        Ok(vec![image])
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(self.0.state.lock().images.clone())
    }

    /// Every image is here, except those with `missing` in their name.
    async fn resolve_image(&self, reference: &str) -> Result<Option<Image>> {
        let tag = image::reference::normalize(reference)?;
        if tag.contains("missing") {
            return Ok(None);
        }
        let id = image_id(&tag);
        Ok(Some(Image { digest: id.clone(), id, tags: vec![tag], ..Image::default() }))
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        let tag = image::reference::normalize(reference)?;
        self.0.state.lock().images.retain(|image| !image.tags.contains(&tag));
        Ok(())
    }
}

/// An id that depends on the name only.
fn image_id(name: &str) -> String {
    use sha2::{Digest, Sha256};
    format!("sha256:{}", hex::encode(Sha256::digest(name.as_bytes())))
}
