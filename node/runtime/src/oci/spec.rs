//! The OCI description of a container (`config.json`): everything that the kernel will be told
//! about it.

use super::seccomp;
use super::users::User;
use crate::cgroup::weight;
use crate::image::RunConfig;
use crate::{ContainerConfig, Mount, NamespaceMode, Resources, Sandbox, Seccomp};
use serde_json::{Map, Value, json};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Capabilities that every container has unless they are dropped.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// All capabilities, each at the place of its bit.
const ALL_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Kernel files that a container must not see.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Kernel files that a container must not write.
const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where programs are looked for when the image says nothing.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a description is made of.
pub(super) struct Parts<'a> {
    /// The container's settings.
    pub(super) config: &'a ContainerConfig,
    /// The image's settings.
    pub(super) image: &'a RunConfig,
    /// Its sandbox.
    pub(super) sandbox: &'a Sandbox,
    /// Directory of the sandbox's pinned namespaces.
    pub(super) namespaces: &'a Path,
    /// Its root file system.
    pub(super) rootfs: &'a Path,
    /// As whom it runs.
    pub(super) user: &'a User,
    /// Its cgroup.
    pub(super) cgroup: &'a str,
    /// Whether cgroups are of version 2.
    pub(super) v2: bool,
}

impl Parts<'_> {
    /// The whole description.
    pub(super) fn build(&self) -> Value {
        let security = &self.config.security;
        let mut linux = json!({
            "cgroupsPath": self.cgroup,
            "namespaces": self.namespaces(),
            "resources": self.resources(),
            "rootfsPropagation": "rslave",
        });
        if let Some(filter) = self.seccomp() {
            linux["seccomp"] = filter;
        }
        if security.privileged {
            linux["devices"] = host_devices();
        } else {
            linux["devices"] = self.devices();
            if !security.unmasked_proc {
                linux["maskedPaths"] = json!(MASKED);
                linux["readonlyPaths"] = json!(READ_ONLY);
            }
        }
        json!({
            "ociVersion": "1.0.2",
            "process": self.process(),
            "root": {"path": self.rootfs, "readonly": security.read_only_root},
            "mounts": self.mounts(),
            "linux": linux,
        })
    }

    /// The process: what runs, as whom, with which rights.
    fn process(&self) -> Value {
        let security = &self.config.security;
        let mut process = json!({
            "terminal": self.config.tty,
            "user": {
                "uid": self.user.uid,
                "gid": self.user.gid,
                "additionalGids": self.user.groups,
                "umask": 0o022,
            },
            "args": command(self.config, self.image),
            "env": self.env(),
            "cwd": self.cwd(),
            "capabilities": self.capabilities(),
            "noNewPrivileges": security.no_new_privileges && !security.privileged,
        });
        if let Some(adjustment) = self.config.resources.oom_score_adj {
            process["oomScoreAdj"] = json!(adjustment);
        }
        process
    }

    /// Directory to start in.
    fn cwd(&self) -> &str {
        let candidates = [self.config.working_dir.as_str(), self.image.working_dir.as_str()];
        candidates.into_iter().find(|dir| !dir.is_empty()).unwrap_or("/")
    }

    /// Environment: the image's, then the pod's, the last one of a name wins.
    fn env(&self) -> Vec<String> {
        let mut lines = vec![DEFAULT_PATH.to_owned()];
        if self.config.tty {
            lines.push("TERM=xterm".into());
        }
        if !self.sandbox.config.hostname.is_empty() {
            lines.push(format!("HOSTNAME={}", self.sandbox.config.hostname));
        }
        lines.extend(self.image.env.iter().flatten().cloned());
        lines.extend(self.config.env.iter().map(|(name, value)| format!("{name}={value}")));
        let mut env: Vec<String> = Vec::with_capacity(lines.len());
        for line in lines {
            let name = line.split('=').next().unwrap_or_default().to_owned();
            match env.iter().position(|other| other.split('=').next() == Some(&name)) {
                Some(at) => env[at] = line,
                None => env.push(line),
            }
        }
        env
    }

    /// Capabilities in all sets that a plain exec uses.
    fn capabilities(&self) -> Value {
        let names = self.capability_names();
        let names: Vec<String> = names.into_iter().map(|name| format!("CAP_{name}")).collect();
        json!({"bounding": names, "effective": names, "permitted": names})
    }

    /// The filter of system calls, if there is one.
    fn seccomp(&self) -> Option<Value> {
        let security = &self.config.security;
        match &security.seccomp {
            _ if security.privileged => None,
            Seccomp::Unconfined => None,
            Seccomp::RuntimeDefault => Some(seccomp::default_profile(&self.capability_names())),
            Seccomp::Profile(profile) => Some(profile.clone()),
        }
    }

    /// Capabilities without `CAP_`.
    fn capability_names(&self) -> Vec<String> {
        let security = &self.config.security;
        let plain = |name: &String| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
        let add: Vec<String> = security.add_capabilities.iter().map(plain).collect();
        let drop: Vec<String> = security.drop_capabilities.iter().map(plain).collect();
        let all = |list: &[String]| list.iter().any(|name| name == "ALL");
        let mut names: Vec<String> = match (security.privileged || all(&add), all(&drop)) {
            (true, _) => own_capabilities(),
            (false, true) => Vec::new(),
            (false, false) => DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
        };
        if !security.privileged {
            names.retain(|name| !drop.contains(name));
            names.extend(add.into_iter().filter(|name| name != "ALL"));
        }
        names.sort();
        names.dedup();
        names
    }

    /// Namespaces: own ones for processes and mounts, the pod's for the rest.
    fn namespaces(&self) -> Vec<Value> {
        let config = &self.sandbox.config;
        let mut namespaces = vec![json!({"type": "mount"})];
        match (config.pid, config.share_processes) {
            (NamespaceMode::Node, _) => {}
            (NamespaceMode::Pod, false) => namespaces.push(json!({"type": "pid"})),
            (NamespaceMode::Pod, true) => {
                let path = self.namespaces.join(super::pause::NAMESPACE);
                namespaces.push(json!({"type": "pid", "path": path}));
            }
        }
        if config.ipc == NamespaceMode::Pod {
            namespaces.push(json!({"type": "ipc", "path": self.namespaces.join("ipc")}));
        }
        if config.network == NamespaceMode::Pod {
            namespaces.push(json!({"type": "uts", "path": self.namespaces.join("uts")}));
            if let Some(netns) = &self.sandbox.netns {
                namespaces.push(json!({"type": "network", "path": netns}));
            }
        }
        if self.v2 {
            namespaces.push(json!({"type": "cgroup"}));
        }
        namespaces
    }

    /// Mounts: the kernel's file systems, then what the pod wants, outer ones first.
    fn mounts(&self) -> Vec<Value> {
        let access = if self.config.security.privileged { "rw" } else { "ro" };
        let plain = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
        let mut mounts = vec![
            plain("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            plain("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            plain(
                "/dev/pts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            plain("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            plain("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
            plain("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
        ];
        let shm = match self.sandbox.config.ipc {
            NamespaceMode::Pod => self.namespaces.join("shm"),
            NamespaceMode::Node => PathBuf::from("/dev/shm"),
        };
        mounts.push(json!({
            "destination": "/dev/shm", "type": "bind", "source": shm,
            "options": ["rbind", "nosuid", "nodev", "noexec", "rw"],
        }));
        let mut wanted: Vec<&Mount> = self.config.mounts.iter().collect();
        wanted.sort_by_key(|mount| mount.target.components().count());
        for mount in wanted {
            // A mount of the pod's own replaces ours at the same place.
            mounts.retain(|other| other["destination"] != json!(mount.target));
            mounts.push(pod_mount(mount));
        }
        mounts
    }

    /// Devices that the pod asked for.
    fn devices(&self) -> Value {
        let devices = self.config.devices.iter();
        devices.filter_map(|device| node_of(&device.source, &device.target)).collect()
    }

    /// Limits.
    fn resources(&self) -> Value {
        let mut resources = limits(&self.config.resources, self.v2);
        let mut rules = vec![json!({"allow": self.config.security.privileged, "access": "rwm"})];
        for device in &self.config.devices {
            if let Some(node) = node_of(&device.source, &device.target) {
                rules.push(json!({
                    "allow": true, "type": node["type"], "major": node["major"],
                    "minor": node["minor"], "access": device.permissions,
                }));
            }
        }
        resources["devices"] = rules.into();
        resources
    }
}

/// All capabilities that this process may give: those that it has itself.
fn own_capabilities() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX);
    let has = |bit: usize| mask & (1 << bit) != 0;
    let names = ALL_CAPABILITIES.iter().enumerate();
    names.filter(|(bit, _)| has(*bit)).map(|(_, name)| (*name).to_owned()).collect()
}

/// The command: the image's entrypoint and arguments, or what replaces them.
pub(super) fn command(config: &ContainerConfig, image: &RunConfig) -> Vec<String> {
    let entrypoint = image.entrypoint.clone().unwrap_or_default();
    let arguments = image.cmd.clone().unwrap_or_default();
    let (mut words, rest) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (config.command.clone(), config.args.clone()),
        (true, false) => (entrypoint, config.args.clone()),
        (true, true) => (entrypoint, arguments),
    };
    words.extend(rest);
    words
}

/// Limits in the OCI form, which is that of cgroup version 1.
pub(super) fn limits(resources: &Resources, v2: bool) -> Value {
    let (mut cpu, mut unified) = (Map::new(), Map::new());
    if resources.cpu_shares > 0 {
        cpu.insert("shares".into(), json!(resources.cpu_shares));
        if v2 {
            // Older runtimes translate shares differently from newer ones.
            let weight = weight(resources.cpu_shares).to_string();
            unified.insert("cpu.weight".into(), json!(weight));
        }
    }
    if resources.cpu_quota > 0 {
        cpu.insert("quota".into(), json!(resources.cpu_quota));
        cpu.insert("period".into(), json!(resources.cpu_period));
    }
    if !resources.cpuset.is_empty() {
        cpu.insert("cpus".into(), json!(resources.cpuset));
    }
    let mut limits = json!({"cpu": cpu});
    if resources.memory_bytes > 0 {
        limits["memory"] = json!({"limit": resources.memory_bytes});
        if v2 {
            unified.insert("memory.oom.group".into(), json!("1"));
        }
    }
    if resources.pids > 0 {
        limits["pids"] = json!({"limit": resources.pids});
    }
    if !unified.is_empty() {
        limits["unified"] = unified.into();
    }
    limits
}

/// A mount of the pod.
fn pod_mount(mount: &Mount) -> Value {
    let access = if mount.read_only { "ro" } else { "rw" };
    let mut options: Vec<&str> = mount.options.iter().map(String::as_str).collect();
    options.push(access);
    match &mount.source {
        None => json!({
            "destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options,
        }),
        Some(source) => {
            options.push("rbind");
            options.push(match mount.propagation.as_str() {
                "HostToContainer" => "rslave",
                "Bidirectional" => "rshared",
                _ => "rprivate",
            });
            json!({
                "destination": mount.target, "type": "bind", "source": source, "options": options,
            })
        }
    }
}

/// The OCI form of a device node.
fn node_of(source: &Path, target: &Path) -> Option<Value> {
    let meta = std::fs::metadata(source).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return None,
    };
    Some(json!({
        "path": target, "type": kind,
        "major": nix::sys::stat::major(meta.rdev()),
        "minor": nix::sys::stat::minor(meta.rdev()),
        "fileMode": meta.mode() & 0o777, "uid": meta.uid(), "gid": meta.gid(),
    }))
}

/// All devices of the machine, for a privileged container.
fn host_devices() -> Value {
    let mut devices = Vec::new();
    let mut dirs = vec![PathBuf::from("/dev")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            let own = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd"];
            if kind.is_dir() && !own.iter().any(|own| path == Path::new(own)) {
                dirs.push(path);
            } else if path != Path::new("/dev/console") && !kind.is_symlink() {
                devices.extend(node_of(&path, &path));
            }
        }
    }
    devices.into()
}
