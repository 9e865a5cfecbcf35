//! The `oci` driver: containers by the command line of an OCI runtime, each under a shim of ours.
//!
//! On disk, below the data directory: `images/`, `sandboxes/ID.json`, `containers/ID/` with the
//! record (`container.json`), the bundle and what the shim writes. All of it is read again when the
//! agent starts.

mod cleanup;
pub(crate) mod cli;
mod create;
mod exec;
mod pause;
mod sandbox;
mod seccomp;
mod spec;
#[cfg(test)]
mod tests;
mod users;

pub use cleanup::cleanup;
pub(crate) use create::CANNOT_START;

use crate::error::Doing;
use crate::shim::{self, EXIT, PROGRESS, Progress, client, protocol::Request};
use crate::{
    Config, Container, ContainerConfig, ContainerState, Duplex, Error, Event, Exec, Exit, Image,
    Resources, Result, Runtime, Sandbox, SandboxConfig, Session, Stats, Version, cgroup, image,
};
use async_trait::async_trait;
use cli::Cli;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// A shim that has told the exit gets so long to clean up.
const SHIM_END: Duration = Duration::from_secs(5);
/// A killed process gets so long to vanish.
const KILL_END: Duration = Duration::from_secs(30);

/// The driver.
struct Oci(Arc<Inner>);

/// What the driver and its tasks share.
pub(crate) struct Inner {
    config: Config,
    cli: Cli,
    cgroups: cgroup::Hierarchy,
    images: Arc<image::Store>,
    sandboxes: Mutex<HashMap<String, Sandbox>>,
    containers: Mutex<HashMap<String, Entry>>,
    events: broadcast::Sender<Event>,
}

/// A container and its state as the tasks see it.
#[derive(Clone)]
struct Entry {
    container: Container,
    /// Follows the state.
    state: watch::Sender<ContainerState>,
    /// Whether the shim has ended.
    gone: watch::Sender<bool>,
}

/// Opens the driver. Must be called inside an executor; containers that run are watched from here
/// on.
pub(crate) fn open(config: Config) -> Result<Arc<dyn Runtime>> {
    if !nix::unistd::geteuid().is_root() {
        let reason = "the oci runtime needs root; run as root or use --runtime simulated";
        return Err(Error::Unsupported(reason.into()));
    }
    let program = find(&config.runtime)?;
    for dir in ["sandboxes", "containers"] {
        let dir = config.data_dir.join(dir);
        fs::create_dir_all(&dir).doing(|| format!("make {}", dir.display()))?;
    }
    let root = config.state_dir.join("oci");
    fs::create_dir_all(&root).doing(|| format!("make {}", root.display()))?;
    let inner = Arc::new(Inner {
        cli: Cli::new(&program, &root),
        cgroups: cgroup::Hierarchy::detect().doing(|| "find cgroups".into())?,
        images: Arc::new(image::Store::open(&config.images())?),
        sandboxes: Mutex::default(),
        containers: Mutex::default(),
        events: broadcast::Sender::new(crate::EVENTS),
        config,
    });
    inner.load_sandboxes()?;
    inner.load_containers()?;
    Ok(Arc::new(Oci(inner)))
}

/// Finds a program by name or path.
fn find(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        let found = program.is_file().then(|| program.to_owned());
        return found
            .ok_or_else(|| Error::Unsupported(format!("no OCI runtime at {}", program.display())));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut dirs = std::env::split_paths(&path).chain(usual);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|path| path.is_file())).ok_or_else(|| {
        Error::Unsupported(format!(
            "no OCI runtime {:?} on this machine; \
             install it (Debian: apt install runc) or use --runtime simulated",
            program.display()
        ))
    })
}

/// A new id.
fn new_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

impl Inner {
    /// Directory of a container.
    fn dir(&self, id: &str) -> PathBuf {
        self.config.data_dir.join("containers").join(id)
    }

    /// A container that must be there.
    fn entry(&self, id: &str) -> Result<Entry> {
        let found = self.containers.lock().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    /// A sandbox that must be there.
    fn sandbox(&self, id: &str) -> Result<Sandbox> {
        let found = self.sandboxes.lock().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("sandbox {id}")))
    }

    /// Finds the containers of an earlier run and watches those that run.
    fn load_containers(self: &Arc<Self>) -> Result<()> {
        let dir = self.config.data_dir.join("containers");
        for entry in fs::read_dir(&dir).doing(|| format!("read {}", dir.display()))?.flatten() {
            let path = entry.path();
            let record = fs::read(path.join("container.json")).ok();
            let container: Option<Container> =
                record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match container {
                Some(container) => self.adopt(container),
                // Half-made: the agent died between the directory and the record.
                None => create::discard(&path),
            }
        }
        Ok(())
    }

    /// Takes a container of an earlier run.
    fn adopt(self: &Arc<Self>, mut container: Container) {
        let dir = self.dir(&container.id);
        let progress: Progress = read_json(&dir.join(PROGRESS)).unwrap_or_default();
        container.pid = progress.pid;
        container.started_at = progress.started_at;
        container.state = match read_json::<Exit>(&dir.join(EXIT)) {
            Some(exit) => ContainerState::Exited(exit),
            None if progress.started_at > 0 => ContainerState::Running,
            None => ContainerState::Created,
        };
        self.watch(container);
    }

    /// Keeps a container and follows it to its end.
    fn watch(self: &Arc<Self>, container: Container) {
        let (id, sandbox) = (container.id.clone(), container.sandbox.clone());
        let entry = Entry {
            state: watch::Sender::new(container.state.clone()),
            gone: watch::Sender::new(false),
            container,
        };
        self.containers.lock().insert(id.clone(), entry.clone());
        let inner = self.clone();
        stdx::task::spawn("container", async move {
            let ended_before = matches!(entry.container.state, ContainerState::Exited(_));
            let dir = inner.dir(&id);
            let mut connection = client::open(&dir, &Request::Wait).await.ok();
            let told = match &mut connection {
                Some(connection) => client::exit(connection).await,
                None => None,
            };
            if !ended_before {
                match told.or_else(|| read_json(&dir.join(EXIT))) {
                    Some(exit) => inner.ended(&id, &sandbox, exit),
                    None => inner.lost(&id, &sandbox),
                }
            }
            if let Some(mut connection) = connection {
                // The connection closes when the shim has cleaned up.
                client::exit(&mut connection).await;
            }
            entry.gone.send_replace(true);
        });
    }

    /// A container's process runs, or has run: told once, and before its end. A very short one may
    /// have ended before whoever started it gets here.
    fn started(&self, id: &str) {
        let progress: Progress = read_json(&self.dir(id).join(PROGRESS)).unwrap_or_default();
        let mut containers = self.containers.lock();
        let Some(entry) = containers.get_mut(id).filter(|_| progress.started_at > 0) else {
            return;
        };
        entry.container.started_at = progress.started_at;
        if entry.container.state == ContainerState::Created {
            entry.container.pid = progress.pid;
            entry.container.state = ContainerState::Running;
            entry.state.send_replace(ContainerState::Running);
            let sandbox = entry.container.sandbox.clone();
            // Nobody listening is fine.
            let _ = self.events.send(Event::Started { id: id.into(), sandbox });
        }
    }

    /// A container has ended.
    fn ended(&self, id: &str, sandbox: &str, exit: Exit) {
        self.started(id);
        self.set_state(id, ContainerState::Exited(exit.clone()));
        // Nobody listening is fine.
        let _ = self.events.send(Event::Exited { id: id.into(), sandbox: sandbox.into(), exit });
    }

    /// A shim died before its container: nobody knows how that ends, so it is made to end.
    fn lost(&self, id: &str, sandbox: &str) {
        tracing::warn!(container = id, "shim is gone");
        self.set_state(id, ContainerState::Unknown);
        let exit = Exit {
            code: 137,
            signal: None,
            oom_killed: false,
            finished_at: shim::now_nanos(),
            message: "the container's shim is gone".into(),
        };
        let _ = self.events.send(Event::Exited { id: id.into(), sandbox: sandbox.into(), exit });
    }

    /// Changes a container's state.
    fn set_state(&self, id: &str, state: ContainerState) {
        if let Some(entry) = self.containers.lock().get_mut(id) {
            if state != ContainerState::Running {
                entry.container.pid = None;
            }
            entry.container.state = state.clone();
            entry.state.send_replace(state);
        }
    }

    /// Waits until a container has ended.
    async fn wait_end(entry: &Entry, patience: Duration) -> bool {
        let mut state = entry.state.subscribe();
        let ended = state
            .wait_for(|state| matches!(state, ContainerState::Exited(_) | ContainerState::Unknown));
        tokio::time::timeout(patience, ended).await.is_ok()
    }

    /// Ids of a sandbox's containers.
    fn containers_of(&self, sandbox: &str) -> Vec<String> {
        let containers = self.containers.lock();
        let own = containers.values().filter(|entry| entry.container.sandbox == sandbox);
        own.map(|entry| entry.container.id.clone()).collect()
    }
}

/// A JSON file, if it is there and whole.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[async_trait]
impl Runtime for Oci {
    async fn version(&self) -> Result<Version> {
        let text = self.0.cli.version().await.doing(|| "ask the runtime its version".into())?;
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or("oci").to_owned();
        let version = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        Ok(Version { name, version: version.unwrap_or("unknown").to_owned() })
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        self.0.make_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        for container in self.0.containers_of(id) {
            self.stop_container(&container, None, Duration::ZERO).await?;
        }
        self.0.release_sandbox(id);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.stop_pod_sandbox(id).await?;
        for container in self.0.containers_of(id) {
            self.remove_container(&container).await?;
        }
        self.0.forget_sandbox(id);
        Ok(())
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Sandbox>> {
        Ok(self.0.sandboxes.lock().values().cloned().collect())
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String> {
        let container = self.0.create(sandbox, config).await?;
        let id = container.id.clone();
        self.0.watch(container);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let entry = self.0.entry(id)?;
        if let Some(refusal) = refusal(&entry.container) {
            return Err(refusal);
        }
        if entry.container.state != ContainerState::Created {
            let state = entry.container.state.word();
            return Err(Error::State { id: id.into(), state, wanted: "created" });
        }
        let dir = self.0.dir(id);
        if let Err(error) = client::call(&dir, id, &Request::Start).await {
            // With a terminal the process is made only now; the shim records that it was not.
            Inner::wait_end(&entry, SHIM_END).await;
            return Err(refusal(&self.0.entry(id)?.container).unwrap_or(error));
        }
        self.0.started(id);
        Ok(())
    }

    async fn stop_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<()> {
        let Ok(entry) = self.0.entry(id) else { return Ok(()) };
        if matches!(entry.container.state, ContainerState::Exited(_)) {
            return Ok(());
        }
        if entry.container.state == ContainerState::Unknown {
            return self.0.cli.delete(id).await.doing(|| format!("delete container {id}"));
        }
        let dir = self.0.dir(id);
        if !grace.is_zero() && entry.container.state == ContainerState::Running {
            let name = signal.unwrap_or(entry.container.config.stop_signal.as_str());
            client::call(&dir, id, &Request::Kill(signal_number(name))).await?;
            if Inner::wait_end(&entry, grace).await {
                return Ok(());
            }
        }
        client::call(&dir, id, &Request::Kill(nix::libc::SIGKILL)).await?;
        match Inner::wait_end(&entry, KILL_END).await {
            true => Ok(()),
            false => Err(Error::Timeout("killing a container")),
        }
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let Ok(entry) = self.0.entry(id) else { return Ok(()) };
        if entry.container.state == ContainerState::Running {
            return Err(Error::State { id: id.into(), state: "running", wanted: "stopped" });
        }
        if entry.container.state == ContainerState::Created {
            self.stop_container(id, None, Duration::ZERO).await?;
        }
        let mut gone = entry.gone.subscribe();
        let _ = tokio::time::timeout(SHIM_END, gone.wait_for(|gone| *gone)).await;
        if self.0.config.state_dir.join("oci").join(id).exists() {
            self.0.cli.delete(id).await.doing(|| format!("delete container {id}"))?;
        }
        self.0.containers.lock().remove(id);
        create::discard(&self.0.dir(id));
        let group = self.0.sandbox(&entry.container.sandbox);
        if let Ok(sandbox) = group {
            let pod = self.0.pod_cgroup(&sandbox.config);
            self.0.cgroups.remove_empty(&format!("{pod}/{id}"));
        }
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<Container>> {
        Ok(self.0.containers.lock().values().map(|entry| entry.container.clone()).collect())
    }

    async fn inspect_container(&self, id: &str) -> Result<Container> {
        Ok(self.0.entry(id)?.container)
    }

    async fn update_container(&self, id: &str, resources: &Resources) -> Result<()> {
        self.0.update(id, resources).await
    }

    async fn container_stats(&self, id: &str) -> Result<Stats> {
        let entry = self.0.entry(id)?;
        let sandbox = self.0.sandbox(&entry.container.sandbox)?;
        let group = format!("{}/{id}", self.0.pod_cgroup(&sandbox.config));
        Ok(self.0.cgroups.stats(&group))
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    async fn exec(&self, id: &str, exec: Exec) -> Result<Session> {
        self.0.exec(id, exec).await
    }

    async fn attach(&self, id: &str, exec: Exec) -> Result<Session> {
        self.0.attach(id, exec).await
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Duplex>> {
        self.0.port_forward(sandbox, port).await
    }

    async fn import_image(&self, archive: &Path) -> Result<Vec<Image>> {
        let (images, archive) = (self.0.images.clone(), archive.to_owned());
        tokio::task::spawn_blocking(move || images.import(&archive))
            .await
            .map_err(|_| Error::Invalid("the import panicked".into()))?
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(self.0.images.list())
    }

    async fn resolve_image(&self, reference: &str) -> Result<Option<Image>> {
        image::reference::normalize(reference)?;
        Ok(self.0.images.resolve(reference).map(|record| record.image))
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.0.images.remove(reference)
    }
}

/// Why a container's process could not be made, if that is how it ended.
fn refusal(container: &Container) -> Option<Error> {
    match &container.state {
        ContainerState::Exited(exit) if container.started_at == 0 && !exit.message.is_empty() => {
            let message = exit.message.clone();
            Some(Error::Oci { operation: "failed to create task", message })
        }
        _ => None,
    }
}

/// The number of a signal's name; TERM for what is none.
fn signal_number(name: &str) -> i32 {
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    if let Ok(number) = name.parse() {
        return number;
    }
    full.parse::<nix::sys::signal::Signal>().map_or(nix::libc::SIGTERM, |signal| signal as i32)
}
