//! Sandboxes of the `oci` driver: namespaces kept alive by bind mounts, without any process inside.

use super::Inner;
use crate::error::Doing;
use crate::shim::now_nanos;
use crate::{Error, NamespaceMode, Result, Sandbox, SandboxConfig, image};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

impl Inner {
    /// Directory of a sandbox's namespaces.
    pub(super) fn namespaces(&self, id: &str) -> PathBuf {
        self.config.state_dir.join("ns").join(id)
    }

    /// File of a sandbox's record.
    fn sandbox_file(&self, id: &str) -> PathBuf {
        self.config.data_dir.join("sandboxes").join(format!("{id}.json"))
    }

    /// A pod's cgroup.
    pub(super) fn pod_cgroup(&self, sandbox: &SandboxConfig) -> String {
        let pod = match sandbox.cgroup.trim_matches('/') {
            "" => format!("pod{}", sandbox.uid),
            cgroup => cgroup.to_owned(),
        };
        format!("{}/{pod}", self.config.cgroup_parent.trim_end_matches('/'))
    }

    /// The cgroup of the shims.
    pub(super) fn shims_cgroup(&self) -> String {
        format!("{}/shims", self.config.cgroup_parent.trim_end_matches('/'))
    }

    /// Makes a sandbox.
    pub(super) async fn make_sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        let id = super::new_id();
        let dir = self.namespaces(&id);
        fs::create_dir_all(&dir).doing(|| format!("make {}", dir.display()))?;
        let group = self.pod_cgroup(&config);
        self.cgroups.create(&group, &config.resources).doing(|| format!("make cgroup {group}"))?;
        if let Err(error) = self.pin(&dir, &config).await {
            unpin(&dir);
            return Err(error);
        }
        let netns = match (config.network, &config.netns) {
            (NamespaceMode::Node, _) => None,
            (NamespaceMode::Pod, Some(netns)) => Some(netns.clone()),
            (NamespaceMode::Pod, None) => Some(dir.join("net")),
        };
        let sandbox = Sandbox { id, config, netns, ready: true, created_at: now_nanos() };
        let json = serde_json::to_vec(&sandbox).expect("records have string keys only");
        image::replace_unsynced(&self.sandbox_file(&sandbox.id), &json)?;
        self.sandboxes.lock().insert(sandbox.id.clone(), sandbox.clone());
        Ok(sandbox)
    }

    /// Makes the namespaces on threads of their own, because a namespace belongs to a thread.
    async fn pin(&self, dir: &Path, config: &SandboxConfig) -> Result<()> {
        let (target, settings) = (dir.to_owned(), config.clone());
        on_thread(move || pin_here(&target, &settings)).await?;
        if config.share_processes && config.pid == NamespaceMode::Pod {
            let (dir, program) = (dir.to_owned(), self.config.shim.clone());
            let pid = on_thread(move || super::pause::start(&dir, &program)).await?;
            if let Err(error) = self.cgroups.join(&self.shims_cgroup(), pid) {
                tracing::warn!(%error, "pause process stays in the agent's cgroup");
            }
        }
        Ok(())
    }

    /// Lets the namespaces of a sandbox go; its containers have ended.
    pub(super) fn release_sandbox(&self, id: &str) {
        unpin(&self.namespaces(id));
        if let Some(sandbox) = self.sandboxes.lock().get_mut(id) {
            sandbox.ready = false;
        }
    }

    /// Forgets a sandbox.
    pub(super) fn forget_sandbox(&self, id: &str) {
        let Some(sandbox) = self.sandboxes.lock().remove(id) else { return };
        let uid = &sandbox.config.uid;
        let others = self.sandboxes.lock().values().any(|other| other.config.uid == *uid);
        if !others {
            self.cgroups.remove(&self.pod_cgroup(&sandbox.config));
        }
        let _ = fs::remove_file(self.sandbox_file(id));
    }

    /// Finds the sandboxes of an earlier run.
    pub(super) fn load_sandboxes(&self) -> Result<()> {
        let dir = self.config.data_dir.join("sandboxes");
        for entry in fs::read_dir(&dir).doing(|| format!("read {}", dir.display()))?.flatten() {
            let sandbox = fs::read(entry.path())
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Sandbox>(&bytes).ok());
            let Some(mut sandbox) = sandbox else {
                tracing::warn!(path = %entry.path().display(), "sandbox record not readable");
                let _ = fs::remove_file(entry.path());
                continue;
            };
            sandbox.ready = self.is_standing(&sandbox);
            self.sandboxes.lock().insert(sandbox.id.clone(), sandbox);
        }
        Ok(())
    }

    /// Whether the namespaces of a sandbox are still there: a reboot takes them.
    fn is_standing(&self, sandbox: &Sandbox) -> bool {
        let ipc = self.namespaces(&sandbox.id).join("ipc");
        let own_ipc = sandbox.config.ipc == NamespaceMode::Node || is_namespace(&ipc);
        own_ipc && sandbox.netns.as_deref().is_none_or(is_namespace)
    }
}

/// Whether a namespace is mounted at a path.
fn is_namespace(path: &Path) -> bool {
    use nix::sys::statfs::{NSFS_MAGIC, statfs};
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Runs blocking work on a new thread that ends with it.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (answer, receive) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("namespace".into())
        .spawn(move || drop(answer.send(work())))
        .doing(|| "start a thread".into())?;
    receive.await.map_err(|_| Error::Invalid("the namespace thread panicked".into()))?
}

/// Makes the namespaces of this thread and binds them to files.
fn pin_here(dir: &Path, config: &SandboxConfig) -> Result<()> {
    let mut flags = CloneFlags::empty();
    let mut names = Vec::new();
    if config.ipc == NamespaceMode::Pod {
        flags |= CloneFlags::CLONE_NEWIPC;
        names.push("ipc");
    }
    if config.network == NamespaceMode::Pod {
        flags |= CloneFlags::CLONE_NEWUTS;
        names.push("uts");
        match &config.netns {
            Some(netns) => enter(netns)?,
            None => {
                flags |= CloneFlags::CLONE_NEWNET;
                names.push("net");
            }
        }
    }
    unshare(flags).doing(|| "make namespaces".into())?;
    if flags.contains(CloneFlags::CLONE_NEWNET) {
        raise_loopback().doing(|| "bring the loopback interface up".into())?;
    }
    if config.network == NamespaceMode::Pod && !config.hostname.is_empty() {
        nix::unistd::sethostname(&config.hostname).doing(|| "set the host name".into())?;
    }
    for (name, value) in &config.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).doing(|| format!("set sysctl {name}"))?;
    }
    for name in names {
        let target = dir.join(name);
        File::create(&target).doing(|| format!("make {}", target.display()))?;
        let source = PathBuf::from("/proc/thread-self/ns").join(name);
        mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .doing(|| format!("bind a namespace to {}", target.display()))?;
    }
    if config.ipc == NamespaceMode::Pod {
        let shm = dir.join("shm");
        fs::create_dir_all(&shm).doing(|| format!("make {}", shm.display()))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=65536k"))
            .doing(|| format!("mount {}", shm.display()))?;
    }
    Ok(())
}

/// Brings up the loopback interface of this thread's new network namespace: one message, and no
/// answer is needed.
fn raise_loopback() -> io::Result<()> {
    const ROUTE: isize = 0;
    const NEW_LINK: u16 = 16;
    const REQUEST: u16 = 1;
    const LOOPBACK: u32 = 1;
    const UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&NEW_LINK.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    // Sequence, sender, family and type.
    message.extend_from_slice(&[0; 12]);
    for number in [LOOPBACK, UP, UP] {
        message.extend_from_slice(&number.to_ne_bytes());
    }
    let socket = netlink_sys::Socket::new(ROUTE)?;
    let kernel = netlink_sys::SocketAddr::new(0, 0);
    socket.send_to(&message, &kernel, 0)?;
    Ok(())
}

/// Moves this thread into a network namespace.
pub(super) fn enter(netns: &Path) -> Result<()> {
    let file = File::open(netns).doing(|| format!("open {}", netns.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).doing(|| format!("enter {}", netns.display()))
}

/// Lets pinned namespaces go.
fn unpin(dir: &Path) {
    super::pause::stop(dir);
    for name in ["net", "ipc", "uts", "shm", super::pause::NAMESPACE] {
        let path = dir.join(name);
        if path.exists() {
            // Not mounted is as good as unmounted.
            let _ = umount2(&path, MntFlags::MNT_DETACH);
        }
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "namespaces not removed");
        }
        _ => {}
    }
}
