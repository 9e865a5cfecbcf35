//! Makes a container: overlay of its image, OCI description, shim.

use super::spec::{self, Parts};
use super::{Inner, new_id, users};
use crate::error::Doing;
use crate::shim::{EXIT, Hello, SETTINGS, Settings, now_nanos};
use crate::{
    Container, ContainerConfig, ContainerState, Error, Exit, NamespaceMode, Resources, Result,
    Sandbox, cgroup, image,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The shim gets so long to make the container.
const PATIENCE: Duration = Duration::from_secs(90);
/// Exit code of a container whose process could not be made.
pub(crate) const CANNOT_START: i32 = 128;
/// The kernel takes mount options up to one page.
const MAX_OPTIONS: usize = 4095;

impl Inner {
    /// Makes a container; nothing is left when it fails, unless the runtime refused: that counts as
    /// an end of the container, which its record tells.
    pub(super) async fn create(&self, sandbox: &str, config: ContainerConfig) -> Result<Container> {
        let sandbox = self.sandbox(sandbox)?;
        if !sandbox.ready {
            return Err(Error::Invalid(format!("sandbox {} is not ready", sandbox.id)));
        }
        let id = new_id();
        let dir = self.dir(&id);
        fs::create_dir_all(&dir).doing(|| format!("make {}", dir.display()))?;
        let made = self.make(&id, &dir, &sandbox, config).await;
        if made.is_err() {
            if let Err(error) = self.cli.delete(&id).await {
                tracing::debug!(%error, "nothing to delete");
            }
            discard(&dir);
        }
        made
    }

    /// The steps of making a container.
    async fn make(
        &self,
        id: &str,
        dir: &Path,
        sandbox: &Sandbox,
        mut config: ContainerConfig,
    ) -> Result<Container> {
        let record = self.images.resolve(&config.image);
        let record = record.ok_or_else(|| Error::NotFound(format!("image {:?}", config.image)))?;
        let rootfs = dir.join("rootfs");
        overlay(dir, &rootfs, &self.images.lower_dirs(&record))?;
        let user = users::resolve(&rootfs, &record.config.user, &config.security.run_as)?;
        if spec::command(&config, &record.config).is_empty() {
            return Err(Error::Invalid("no command specified".into()));
        }
        if config.stop_signal.is_empty() {
            let signal = record.config.stop_signal.clone();
            config.stop_signal = signal.unwrap_or_else(|| "SIGTERM".into());
        }
        let cgroup = format!("{}/{id}", self.pod_cgroup(&sandbox.config));
        let description = Parts {
            config: &config,
            image: &record.config,
            sandbox,
            namespaces: &self.namespaces(&sandbox.id),
            rootfs: &rootfs,
            user: &user,
            cgroup: &cgroup,
            v2: matches!(self.cgroups, cgroup::Hierarchy::V2(_)),
        }
        .build();
        write_json(&dir.join("config.json"), &description)?;
        write_json(&dir.join(SETTINGS), &self.settings(id, dir, &config, cgroup))?;
        let container = Container {
            id: id.to_owned(),
            sandbox: sandbox.id.clone(),
            image: record.image.tags.first().cloned().unwrap_or_else(|| config.image.clone()),
            image_id: record.image.id,
            state: ContainerState::Created,
            pid: None,
            created_at: now_nanos(),
            started_at: 0,
            user: (user.uid, user.gid, user.groups),
            config,
        };
        let container = match self.start_shim(id, dir, sandbox).await {
            Err(Error::Oci { message, .. }) => refused(dir, container, message)?,
            started => started.map(|()| container)?,
        };
        // After the shim: a record without a container behind it would be watched in vain.
        let json = serde_json::to_vec(&container).expect("records have string keys only");
        image::replace_unsynced(&dir.join("container.json"), &json)?;
        Ok(container)
    }

    /// What the shim must know.
    fn settings(&self, id: &str, dir: &Path, config: &ContainerConfig, cgroup: String) -> Settings {
        Settings {
            id: id.to_owned(),
            runtime: self.cli.program().to_owned(),
            runtime_root: self.config.state_dir.join("oci"),
            bundle: dir.to_owned(),
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            log_path: config.log_path.clone(),
            log_max_bytes: self.config.log_max_bytes,
            log_max_files: self.config.log_max_files,
            cgroup,
        }
    }

    /// Starts the shim and waits for its first line.
    async fn start_shim(&self, id: &str, dir: &Path, sandbox: &Sandbox) -> Result<()> {
        let broken = |reason: String| Error::Shim { id: id.to_owned(), reason };
        let [program, args @ ..] = self.config.shim.as_slice() else {
            return Err(Error::Invalid("no shim command configured".into()));
        };
        let errors = dir.join("shim.log");
        let errors = fs::File::create(&errors).doing(|| format!("make {}", errors.display()))?;
        let mut child = Command::new(program)
            .args(args)
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .doing(|| format!("start {program}"))?;
        if let Some(pid) = child.id()
            && let Err(error) = self.cgroups.join(&self.shims_cgroup(), pid)
        {
            tracing::warn!(%error, "shim stays in the agent's cgroup");
        }
        let stdout = child.stdout.take().expect("piped above");
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await;
        // The shim outlives us; while we live, we are its parent and must reap it.
        stdx::task::spawn("shim", async move { child.wait().await });
        match read {
            Err(_) => return Err(broken("does not come up".into())),
            Ok(read) => read.doing(|| "read from the shim".into())?,
        };
        match serde_json::from_str(&line) {
            Ok(Hello::Created) => Ok(()),
            Ok(Hello::Failed(message)) => {
                tracing::debug!(container = id, pod = sandbox.config.name, message, "not created");
                Err(Error::Oci { operation: "create", message })
            }
            Err(_) => {
                let log = fs::read_to_string(dir.join("shim.log")).unwrap_or_default();
                Err(broken(format!("ended without a word: {}", log.trim())))
            }
        }
    }

    /// Changes the limits of a running container.
    pub(super) async fn update(&self, id: &str, resources: &Resources) -> Result<()> {
        self.entry(id)?;
        let v2 = matches!(self.cgroups, cgroup::Hierarchy::V2(_));
        let file = self.dir(id).join("update.json");
        write_json(&file, &spec::limits(resources, v2))?;
        let updated = self.cli.update(id, &file).await;
        updated.map_err(|error| Error::Oci { operation: "update", message: error.to_string() })?;
        if let Some(entry) = self.containers.lock().get_mut(id) {
            entry.container.config.resources = resources.clone();
        }
        Ok(())
    }

    /// Connects to a port as seen from inside a sandbox.
    pub(super) async fn port_forward(
        &self,
        sandbox: &str,
        port: u16,
    ) -> Result<Box<dyn crate::Duplex>> {
        let sandbox = self.sandbox(sandbox)?;
        let netns = match sandbox.config.network {
            NamespaceMode::Pod => sandbox.netns,
            NamespaceMode::Node => None,
        };
        let stream = super::sandbox::on_thread(move || {
            if let Some(netns) = netns {
                super::sandbox::enter(&netns)?;
            }
            let addresses = [("127.0.0.1", port), ("::1", port)].map(|(host, port)| {
                std::net::SocketAddr::new(host.parse().expect("a literal address"), port)
            });
            let patience = Duration::from_secs(10);
            let connect = |address| std::net::TcpStream::connect_timeout(&address, patience);
            let stream = connect(addresses[0])
                .or_else(|first| connect(addresses[1]).map_err(|_| first))
                .doing(|| format!("connect to port {port} in the pod"))?;
            stream.set_nonblocking(true).doing(|| "prepare the connection".into())?;
            Ok(stream)
        })
        .await?;
        let stream =
            tokio::net::TcpStream::from_std(stream).doing(|| "prepare the connection".into())?;
        Ok(Box::new(stream))
    }
}

/// A container whose process could not be made. It has ended before it began: with the code that
/// shells give to commands that cannot run.
fn refused(dir: &Path, mut container: Container, message: String) -> Result<Container> {
    let exit = Exit {
        code: CANNOT_START,
        signal: None,
        oom_killed: false,
        finished_at: now_nanos(),
        message: format!("OCI runtime create failed: {message}"),
    };
    write_json(&dir.join(EXIT), &exit)?;
    container.state = ContainerState::Exited(exit);
    Ok(container)
}

/// Mounts the layers of an image with a writable one on top.
fn overlay(dir: &Path, rootfs: &Path, lower: &[PathBuf]) -> Result<()> {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    for dir in [&upper, &work, &rootfs.to_owned()] {
        fs::create_dir_all(dir).doing(|| format!("make {}", dir.display()))?;
    }
    let empty = dir.join("empty");
    let lower: Vec<String> = match lower {
        [] => {
            fs::create_dir_all(&empty).doing(|| format!("make {}", empty.display()))?;
            vec![escaped(&empty)]
        }
        dirs => dirs.iter().map(|dir| escaped(dir)).collect(),
    };
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        escaped(&upper),
        escaped(&work)
    );
    if options.len() > MAX_OPTIONS {
        let reason = format!("image has {} layers, too many for one mount", lower.len());
        return Err(Error::Invalid(reason));
    }
    mount(Some("overlay"), rootfs, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .doing(|| format!("mount the image at {}", rootfs.display()))
}

/// A path in an option list, where colons and commas mean something.
fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Removes a container's directory.
pub(super) fn discard(dir: &Path) {
    // Not mounted is as good as unmounted.
    let _ = umount2(&dir.join("rootfs"), MntFlags::MNT_DETACH);
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!(%error, dir = %dir.display(), "container directory not removed");
    }
}

/// Writes a JSON file.
pub(super) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let json = serde_json::to_vec(value).expect("plain data");
    fs::write(path, json).doing(|| format!("write {}", path.display()))
}
