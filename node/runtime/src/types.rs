//! What the agent and a runtime tell each other: settings of sandboxes and containers, and their
//! states.

use crate::session::Size;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What runs the containers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// For example `runc`.
    pub name: String,
    /// For example `1.1.5`.
    pub version: String,
}

/// Whose namespace a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// The pod's.
    #[default]
    Pod,
    /// The node's.
    Node,
}

/// Settings of a sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// How often a sandbox was made for this pod before.
    pub attempt: u32,
    /// Host name inside; empty keeps the node's.
    pub hostname: String,
    /// Network namespace.
    pub network: NamespaceMode,
    /// A network namespace made by the caller, who also removes it; without one the runtime makes
    /// its own, bare.
    pub netns: Option<PathBuf>,
    /// Interprocess communication namespace.
    pub ipc: NamespaceMode,
    /// Process namespace: `Node` for hostPID.
    pub pid: NamespaceMode,
    /// One process namespace for all containers of the pod.
    pub share_processes: bool,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// The pod's cgroup below the node's, for example `burstable/pod<uid>`.
    pub cgroup: String,
    /// Limits of the whole pod.
    pub resources: Resources,
    /// The caller's own notes, given back by the lists.
    pub labels: BTreeMap<String, String>,
}

/// A sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// What it was made of.
    pub config: SandboxConfig,
    /// Path of the network namespace; `None` for the node's own or where there is none.
    pub netns: Option<PathBuf>,
    /// Whether its namespaces still stand.
    pub ready: bool,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
}

/// A directory or file of the node shown to a container, or a tmpfs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path on the node; `None` for a tmpfs.
    pub source: Option<PathBuf>,
    /// Path in the container.
    pub target: PathBuf,
    /// Whether the container may not write.
    pub read_only: bool,
    /// `None`, `HostToContainer` or `Bidirectional`; empty means the first.
    pub propagation: String,
    /// More options, such as `size=64m`.
    pub options: Vec<String>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the node.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Of `rwm`.
    pub permissions: String,
}

/// Limits. Zero or `None` means: no limit of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Weight of processor time, cgroup v1 scale.
    pub cpu_shares: u64,
    /// Microseconds of processor time per period.
    pub cpu_quota: i64,
    /// The period in microseconds.
    pub cpu_period: u64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Number of processes.
    pub pids: i64,
    /// Adjustment of the kernel's out-of-memory score.
    pub oom_score_adj: Option<i32>,
    /// Processors that may be used, as a list.
    pub cpuset: String,
}

/// As whom a container's process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id; `None` takes the image's.
    pub uid: Option<u32>,
    /// Group id; `None` takes the user's own, else 0.
    pub gid: Option<u32>,
    /// More groups.
    pub groups: Vec<u32>,
    /// Refuse to start as user 0.
    pub non_root: bool,
    /// Only the groups named here, not those that the image gives the user.
    #[serde(default)]
    pub strict_groups: bool,
}

/// Which system calls a container may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// All.
    #[default]
    Unconfined,
    /// Those of the runtime's default profile.
    RuntimeDefault,
    /// Those of a profile in the OCI form.
    Profile(serde_json::Value),
}

/// What a container's process may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityContext {
    /// As whom.
    pub run_as: RunAs,
    /// Everything, and all devices.
    pub privileged: bool,
    /// Root file system without writes.
    pub read_only_root: bool,
    /// Never gain more rights by exec.
    pub no_new_privileges: bool,
    /// Capabilities added to the default set, without `CAP_`; `ALL` for all.
    pub add_capabilities: Vec<String>,
    /// Capabilities taken out of it.
    pub drop_capabilities: Vec<String>,
    /// Show /proc whole (procMount: Unmasked).
    pub unmasked_proc: bool,
    /// Filter of system calls.
    #[serde(default)]
    pub seccomp: Seccomp,
}

/// Settings of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Its name in the pod.
    pub name: String,
    /// How often it was made before.
    pub attempt: u32,
    /// Reference or id of an image that is here.
    pub image: String,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty, or when `command` is set.
    pub args: Vec<String>,
    /// Directory to start in; empty takes the image's.
    pub working_dir: String,
    /// Environment on top of the image's, in order.
    pub env: Vec<(String, String)>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Devices of the node.
    pub devices: Vec<Device>,
    /// Limits.
    pub resources: Resources,
    /// Rights.
    pub security: SecurityContext,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether its input stays open.
    pub stdin: bool,
    /// Whether its input closes after the first attach.
    pub stdin_once: bool,
    /// The log file; `None` throws output away.
    pub log_path: Option<PathBuf>,
    /// Signal that asks it to stop; empty takes the image's, else `SIGTERM`.
    pub stop_signal: String,
    /// The caller's own notes, given back by the lists.
    pub labels: BTreeMap<String, String>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended.
    Exited(Exit),
    /// Nobody knows how it ended.
    Unknown,
}

impl ContainerState {
    /// A word for messages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited(_) => "exited",
            Self::Unknown => "lost",
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 plus the signal for a killed process.
    pub code: i32,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// When, nanoseconds since 1970.
    pub finished_at: i64,
    /// Why it could not even start; empty otherwise.
    pub message: String,
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its sandbox.
    pub sandbox: String,
    /// What it was made of.
    pub config: ContainerConfig,
    /// Reference of the image as the store knows it.
    pub image: String,
    /// Digest of the image, for the status.
    pub image_id: String,
    /// Where it is.
    pub state: ContainerState,
    /// Process id of its first process while it runs.
    pub pid: Option<i32>,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
    /// When it was started, nanoseconds since 1970; 0 before.
    pub started_at: i64,
    /// User, group and further groups that it really runs as.
    pub user: (u32, u32, Vec<u32>),
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its process runs.
    Started {
        /// The container.
        id: String,
        /// Its sandbox.
        sandbox: String,
    },
    /// Its process ended.
    Exited {
        /// The container.
        id: String,
        /// Its sandbox.
        sandbox: String,
        /// How.
        exit: Exit,
    },
}

/// What to run or join.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// The command; empty for an attach.
    pub command: Vec<String>,
    /// Whether input is wanted.
    pub stdin: bool,
    /// Whether output is wanted.
    pub stdout: bool,
    /// Whether errors are wanted.
    pub stderr: bool,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// First size of the terminal.
    pub size: Option<Size>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of its configuration: what it *is*.
    pub id: String,
    /// Digest of its manifest: what a registry calls it.
    pub digest: String,
    /// Its names, such as `docker.io/library/busybox:1`.
    pub tags: Vec<String>,
    /// Bytes of its layers as stored.
    pub size: u64,
    /// The user that it runs as, as written in it.
    pub user: String,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// When it was measured, nanoseconds since 1970.
    pub at: i64,
    /// Nanoseconds of processor time since its start.
    pub cpu_nanos: u64,
    /// Bytes of memory in use.
    pub memory_usage: u64,
    /// Bytes of memory that cannot be taken back easily.
    pub memory_working_set: u64,
    /// Bytes of anonymous memory.
    pub memory_rss: u64,
    /// Number of processes.
    pub pids: u64,
    /// Bytes that it wrote to its root file system.
    pub rootfs_bytes: u64,
}
