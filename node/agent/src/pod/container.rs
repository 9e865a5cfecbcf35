//! A container of a Pod as the runtime wants it.

use super::expand::expand;
use super::spec::{self, Id};
use super::{qos, security};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::names;
use crate::volume;
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use runtime::{ContainerConfig, Mount};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a termination message is expected when the Pod says nothing.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// What a container's settings are made of.
pub(crate) struct Recipe<'a> {
    /// The node.
    pub(crate) config: &'a Config,
    /// The Pod.
    pub(crate) pod: &'a Pod,
    /// The container.
    pub(crate) container: &'a Container,
    /// How often it was made before.
    pub(crate) attempt: u32,
    /// Its environment.
    pub(crate) env: Vec<(String, String)>,
    /// Bytes of memory of the node.
    pub(crate) memory: i64,
    /// The lowest out-of-memory score that this process may give.
    pub(crate) least_score: i32,
    /// The image as it was found.
    pub(crate) image: String,
}

/// A container's log.
pub(crate) fn log_path(config: &Config, id: &Id, container: &str, attempt: u32) -> PathBuf {
    let dir = config.pod_logs(&id.namespace, &id.name, &id.uid);
    dir.join(container).join(format!("{attempt}.log"))
}

impl Recipe<'_> {
    /// The settings of the container. Files that it needs are made.
    pub(crate) fn build(self) -> Result<ContainerConfig> {
        let id = spec::id(self.pod);
        let container = self.container;
        let lookup = |name: &str| {
            let found = self.env.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let words = |list: Option<&Vec<String>>| -> Vec<String> {
            list.into_iter().flatten().map(|word| expand(word, lookup)).collect()
        };
        let mut resources = qos::container(self.pod, container, self.memory);
        let score = resources.oom_score_adj.map(|score| score.max(self.least_score));
        resources.oom_score_adj = score;
        let mut security = security::context(self.pod, container);
        security.seccomp = security::seccomp(self.config, self.pod, container)?;
        let mut labels = labels(self.pod, &id, container);
        let mut mounts = Vec::new();
        if self.config.files {
            mounts = self.mounts(&id)?;
            let (file, mount) = self.message_file(&id)?;
            labels.insert(names::MESSAGE_FILE.into(), file.to_string_lossy().into_owned());
            mounts.push(mount);
        }
        Ok(ContainerConfig {
            name: container.name.clone(),
            attempt: self.attempt,
            image: self.image.clone(),
            command: words(container.command.as_ref()),
            args: words(container.args.as_ref()),
            working_dir: container.working_dir.clone().unwrap_or_default(),
            mounts,
            devices: Vec::new(),
            resources,
            security,
            tty: container.tty.unwrap_or(false),
            stdin: container.stdin.unwrap_or(false),
            stdin_once: container.stdin_once.unwrap_or(false),
            log_path: Some(log_path(self.config, &id, &container.name, self.attempt)),
            stop_signal: stop_signal(container),
            labels,
            env: self.env,
        })
    }

    /// All mounts: volumes, then the node's own files.
    fn mounts(&self, id: &Id) -> Result<Vec<Mount>> {
        let dir = self.config.pod_dir(&id.uid);
        let mut mounts = Vec::new();
        for (at, mount) in self.container.volume_mounts.iter().flatten().enumerate() {
            mounts.push(self.volume_mount(&dir, at, mount)?);
        }
        for (file, target) in [("etc-hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")] {
            let taken = mounts.iter().any(|mount: &Mount| mount.target == Path::new(target));
            let source = dir.join(file);
            if !taken && source.exists() {
                mounts.push(Mount {
                    source: Some(source),
                    target: target.into(),
                    ..Mount::default()
                });
            }
        }
        Ok(mounts)
    }

    /// One volume of the Pod in the container.
    fn volume_mount(&self, dir: &Path, at: usize, mount: &VolumeMount) -> Result<Mount> {
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        let volume = volumes.into_iter().flatten().find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| {
            Error::Pod(format!("no volume {:?} for the mount {:?}", mount.name, mount.mount_path))
        })?;
        let mut source = volume::path(dir, volume);
        if let Some(sub) = self.sub_path(mount)? {
            let container = &self.container.name;
            let target = dir.join("volume-subpaths").join(&mount.name).join(container);
            let target = target.join(format!("{}-{at}", self.attempt));
            source = volume::subpath::prepare(&source, &sub, &target).map_err(|error| {
                Error::Pod(format!(
                    "failed to prepare subPath for volumeMount \"{}\" of container \"{container}\": {}",
                    mount.name,
                    error.text()
                ))
            })?;
        } else if volume.host_path.is_some() && !source.exists() {
            fs::create_dir_all(&source).map_err(Error::io("make", &source))?;
        }
        // Containers must not write what the node renews.
        let projected = volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some();
        Ok(Mount {
            source: Some(source),
            target: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only.unwrap_or(false) || projected,
            propagation: mount.mount_propagation.clone().unwrap_or_default(),
            options: Vec::new(),
        })
    }

    /// The path inside the volume, if one is asked for.
    fn sub_path(&self, mount: &VolumeMount) -> Result<Option<String>> {
        let own = mount.sub_path.clone().filter(|path| !path.is_empty());
        let Some(text) = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(own);
        };
        let find = |name: &str| self.env.iter().find(|(key, _)| key == name);
        let missing = super::expand::unknown(text, |name| find(name).is_some());
        if let Some(name) = missing.first() {
            return Err(Error::Pod(format!("missing value for \"{name}\"")));
        }
        Ok(Some(expand(text, |name| find(name).map(|(_, value)| value.clone()))))
    }

    /// Makes the file that takes the container's last words.
    fn message_file(&self, id: &Id) -> Result<(PathBuf, Mount)> {
        let dir = self.config.pod_dir(&id.uid).join("containers").join(&self.container.name);
        fs::create_dir_all(&dir).map_err(Error::io("make", &dir))?;
        let file = dir.join(format!("{}.message", self.attempt));
        fs::write(&file, b"").map_err(Error::io("make", &file))?;
        // Whatever user the container runs as.
        let mode = fs::Permissions::from_mode(0o666);
        fs::set_permissions(&file, mode).map_err(Error::io("set mode of", &file))?;
        let target = self.container.termination_message_path.as_deref();
        let target = target.filter(|path| !path.is_empty()).unwrap_or(MESSAGE_PATH);
        let mount = Mount { source: Some(file.clone()), target: target.into(), ..Mount::default() };
        Ok((file, mount))
    }
}

/// The signal that asks the container to stop, where its Pod names one.
fn stop_signal(container: &Container) -> String {
    let lifecycle = container.lifecycle.as_ref();
    lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone()).unwrap_or_default()
}

/// Labels by which a new agent knows the container.
fn labels(pod: &Pod, id: &Id, container: &Container) -> BTreeMap<String, String> {
    let mut labels = pod_labels(pod, id);
    labels.insert(names::CONTAINER_NAME.into(), container.name.clone());
    if let Some(image) = &container.image {
        labels.insert(names::CONTAINER_IMAGE.into(), image.clone());
    }
    if let Some(policy) = &container.termination_message_policy {
        labels.insert(names::MESSAGE_POLICY.into(), policy.clone());
    }
    labels
}

/// Labels by which a new agent knows the sandbox.
pub(crate) fn pod_labels(pod: &Pod, id: &Id) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::POD_NAME.to_owned(), id.name.clone()),
        (names::POD_NAMESPACE.to_owned(), id.namespace.clone()),
        (names::POD_UID.to_owned(), id.uid.clone()),
        (names::POD_GRACE.to_owned(), spec::grace(pod).to_string()),
    ])
}
