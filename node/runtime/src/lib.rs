//! Container runtimes behind one trait, because the agent's pod state machine must not know what
//! runs its pods.
//!
//! A *sandbox* is what the containers of a pod share: namespaces, host name, a parent cgroup. A
//! *container* is one process tree in it with its own root file system. A *driver* makes both;
//! [`DRIVERS`] lists the drivers.
//!
//! `oci` starts containers with the command line of an OCI runtime (runc and its like), each under
//! a small process of ours (see [`shim`]) that outlives the agent. `simulated` keeps the same life
//! cycle in memory.

pub mod cgroup;
pub mod error;
pub mod image;
pub mod log;
pub mod oci;
pub mod session;
pub mod shim;
pub mod simulated;
pub mod types;

pub use error::Error;
pub use oci::cleanup;
pub use session::{Duplex, Session, Size};
pub use types::{
    Container, ContainerConfig, ContainerState, Device, Event, Exec, Exit, Image, Mount,
    NamespaceMode, Resources, RunAs, Sandbox, SandboxConfig, Seccomp, SecurityContext, Stats,
    Version,
};

use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// What every fallible call of this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Events that a slow reader may fall behind by, before it has to list again.
pub const EVENTS: usize = 4096;

/// Where a runtime keeps things and how it starts them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the node: part of cgroup and state paths, so that several nodes share a machine.
    pub node: String,
    /// Images and container state that must survive a restart of the agent.
    pub data_dir: PathBuf,
    /// Small state of this boot: OCI runtime state, pinned namespaces.
    pub state_dir: PathBuf,
    /// The OCI runtime's program, by name or path.
    pub runtime: PathBuf,
    /// The command that becomes a shim; the container's directory is added to it.
    pub shim: Vec<String>,
    /// Parent of all pod cgroups, for example `/trireme/node-1`.
    pub cgroup_parent: String,
    /// Bytes after which a container's log file is rotated.
    pub log_max_bytes: u64,
    /// Log files kept per container, the current one included.
    pub log_max_files: usize,
}

impl Config {
    /// The usual settings for a node under one directory; the shim is this very program.
    pub fn new(node: &str, dir: &std::path::Path) -> Self {
        let program = std::env::current_exe().unwrap_or_else(|_| "trireme".into());
        Self {
            node: node.to_owned(),
            data_dir: dir.join("runtime"),
            state_dir: PathBuf::from("/run/trireme").join(node),
            runtime: "runc".into(),
            shim: vec![program.to_string_lossy().into_owned(), "shim".into()],
            cgroup_parent: format!("/trireme/{node}"),
            log_max_bytes: 10 << 20,
            log_max_files: 5,
        }
    }

    /// Where images lie.
    pub fn images(&self) -> PathBuf {
        self.data_dir.join("images")
    }
}

/// A kind of runtime.
pub struct Driver {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for `--help`.
    pub about: &'static str,
    /// Opens it; containers of an earlier run are found again.
    pub open: fn(Config) -> Result<Arc<dyn Runtime>>,
}

/// All drivers; the first one is the default.
pub const DRIVERS: &[Driver] = &[
    Driver { name: "oci", about: "containers by runc or another OCI runtime", open: oci::open },
    Driver { name: "simulated", about: "pods without containers", open: simulated::open },
];

/// Opens the driver of that name.
pub fn open(driver: &str, config: Config) -> Result<Arc<dyn Runtime>> {
    match DRIVERS.iter().find(|row| row.name == driver) {
        Some(row) => (row.open)(config),
        None => {
            let names: Vec<_> = DRIVERS.iter().map(|row| row.name).collect();
            Err(Error::Invalid(format!("no runtime {driver:?}; there are {}", names.join(", "))))
        }
    }
}

/// Runs sandboxes and containers, and keeps their images.
///
/// All calls may be repeated: stopping what is stopped and removing what is gone succeed.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of what runs the containers.
    async fn version(&self) -> Result<Version>;

    /// Makes the namespaces and the cgroup that the containers of one pod share.
    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<Sandbox>;
    /// Kills what still runs in the sandbox and lets its namespaces go.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Stops the sandbox and forgets it with all its containers.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    /// All sandboxes, also those of earlier runs.
    async fn list_pod_sandboxes(&self) -> Result<Vec<Sandbox>>;

    /// Makes a container, ready to start; its id is the answer.
    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String>;
    /// Starts its process.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends `signal` (its own stop signal, else TERM), and KILL when the grace is over. Returns
    /// after the exit.
    async fn stop_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<()>;
    /// Forgets a container that does not run, with its files; its log stays.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// All containers, also those of earlier runs.
    async fn list_containers(&self) -> Result<Vec<Container>>;
    /// One container.
    async fn inspect_container(&self, id: &str) -> Result<Container>;
    /// Changes the limits of a container while it runs.
    async fn update_container(&self, id: &str, resources: &Resources) -> Result<()>;
    /// What a container uses.
    async fn container_stats(&self, id: &str) -> Result<Stats>;
    /// What happens to containers from now on.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Runs one more process in a running container.
    async fn exec(&self, id: &str, exec: Exec) -> Result<Session>;
    /// Joins the output (and input) of a running container's own process.
    async fn attach(&self, id: &str, exec: Exec) -> Result<Session>;
    /// Connects to a port as seen from inside the sandbox.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Duplex>>;

    /// Takes all images of an archive (OCI layout or docker-archive, plain or gzip).
    async fn import_image(&self, archive: &std::path::Path) -> Result<Vec<Image>>;
    /// All images.
    async fn list_images(&self) -> Result<Vec<Image>>;
    /// The image that a reference names, if it is here.
    async fn resolve_image(&self, reference: &str) -> Result<Option<Image>>;
    /// Removes one name of an image, and the image with its last name.
    async fn remove_image(&self, reference: &str) -> Result<()>;
}
