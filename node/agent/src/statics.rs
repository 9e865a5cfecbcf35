//! Static Pods: manifests in a directory of the node, run without anybody having to schedule them.
//!
//! Each is shown at the API server as a *mirror*: a Pod object that only tells. Deleting the mirror
//! does nothing but make a new one; removing the file ends the Pod. A static Pod's uid is a
//! fingerprint of its manifest, so a changed manifest is another Pod.

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::names;
use crate::pod::registry::Registry;
use crate::pod::spec;
use client::{DeleteOptions, Informer};
use k8s_openapi::api::core::v1::{Node, Pod, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the directory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A manifest larger than this is not read.
const MAX_BYTES: u64 = 1 << 20;

/// Whether a Pod comes from a manifest of this node.
pub(crate) fn is_static(pod: &Pod) -> bool {
    annotation(pod, names::CONFIG_SOURCE) == Some("file") && !is_mirror(pod)
}

/// Whether a Pod object only shows a static Pod.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, names::CONFIG_MIRROR).is_some()
}

/// An annotation of a Pod.
fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The static Pods of a node.
pub(crate) struct Statics {
    /// The node.
    ctx: Arc<Ctx>,
    /// Who runs them.
    registry: Arc<Registry>,
    /// Where mirrors are seen.
    pods: Informer<Pod>,
    /// Pods of the manifests by uid.
    current: BTreeMap<String, Arc<Pod>>,
    /// Manifests that cannot be used, and why: said once.
    broken: BTreeMap<String, String>,
}

impl Statics {
    /// None yet.
    pub(crate) fn new(ctx: Arc<Ctx>, registry: Arc<Registry>, pods: Informer<Pod>) -> Self {
        Self { ctx, registry, pods, current: BTreeMap::new(), broken: BTreeMap::new() }
    }

    /// Follows the directory until the future is dropped; without one there is nothing to do.
    pub(crate) async fn run(mut self) {
        let Some(dir) = self.ctx.config.manifests.clone() else { return };
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        self.pods.on_event(move |change| {
            if is_mirror(change.object()) {
                notify.notify_one();
            }
        });
        loop {
            self.load(&dir);
            if let Err(error) = self.mirror().await {
                tracing::debug!(error = error.text(), "mirror pods not written");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = changed.notified() => {}
            }
        }
    }

    /// Reads all manifests, and starts and ends Pods accordingly.
    pub(crate) fn load(&mut self, dir: &Path) {
        let mut found = BTreeMap::new();
        let mut broken = BTreeMap::new();
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let known =
                ["yaml", "yml", "json"].iter().any(|end| name.ends_with(&format!(".{end}")));
            if name.starts_with('.') || !known {
                continue;
            }
            match read(&self.ctx.config.name, &path) {
                Ok(pod) => drop(found.insert(spec::id(&pod).uid, Arc::new(pod))),
                Err(error) => drop(broken.insert(name, error.text())),
            }
        }
        for (name, error) in &broken {
            if self.broken.get(name) != Some(error) {
                tracing::warn!(manifest = name, error, "manifest of a static pod not usable");
            }
        }
        self.broken = broken;
        for (uid, pod) in &found {
            if !self.current.contains_key(uid) {
                self.registry.set(pod.clone());
            }
        }
        for uid in self.current.keys().filter(|uid| !found.contains_key(*uid)) {
            self.registry.vanish(uid);
        }
        self.current = found;
    }

    /// Brings the mirrors in line.
    async fn mirror(&self) -> Result<()> {
        for pod in self.current.values() {
            let id = spec::id(pod);
            let mirror = self.pods.get(&id.namespace, &id.name);
            match mirror {
                None => self.show(pod).await?,
                Some(mirror) if !is_mirror(&mirror) => {}
                Some(mirror) => {
                    let own = annotation(&mirror, names::CONFIG_MIRROR) == Some(id.uid.as_str());
                    if !own || mirror.metadata.deletion_timestamp.is_some() {
                        self.hide(&mirror).await?;
                    }
                }
            }
        }
        for mirror in self.pods.list().into_iter().filter(|pod| is_mirror(pod)) {
            let uid = annotation(&mirror, names::CONFIG_MIRROR).unwrap_or_default();
            if !self.current.contains_key(uid) && !self.registry.has(uid) {
                self.hide(&mirror).await?;
            }
        }
        Ok(())
    }

    /// Makes the mirror of a Pod.
    async fn show(&self, pod: &Pod) -> Result<()> {
        let client = &self.ctx.client;
        let mut mirror = pod.clone();
        let uid = mirror.metadata.uid.take().unwrap_or_default();
        let annotations = mirror.metadata.annotations.get_or_insert_default();
        annotations.insert(names::CONFIG_MIRROR.into(), uid);
        let node = client.find::<Node>("", &self.ctx.config.name).await?;
        mirror.metadata.owner_references = node.and_then(|node| node.metadata.uid).map(|uid| {
            vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: self.ctx.config.name.clone(),
                uid,
                controller: Some(true),
                ..OwnerReference::default()
            }]
        });
        match client.create(&mirror).await {
            Err(error) if !error.is_already_exists() => return Err(error.into()),
            _ => self.registry.retell(&spec::id(pod).uid),
        }
        Ok(())
    }

    /// Removes a mirror.
    async fn hide(&self, mirror: &Pod) -> Result<()> {
        let id = spec::id(mirror);
        let options = DeleteOptions { uid: Some(id.uid.clone()), ..DeleteOptions::now() };
        match self.ctx.client.delete::<Pod>(&id.namespace, &id.name, &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Reads one manifest.
fn read(node: &str, path: &Path) -> Result<Pod> {
    let meta = std::fs::metadata(path).map_err(Error::io("look at", path))?;
    if meta.len() > MAX_BYTES {
        return Err(Error::Config(format!("{} is too large", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    parse(node, &text)
}

/// A manifest as the Pod of a node.
fn parse(node: &str, text: &str) -> Result<Pod> {
    let mut pod: Pod = serde_yaml_ng::from_str(text)
        .map_err(|error| Error::Config(format!("it is no Pod: {error}")))?;
    let Some(spec) = &mut pod.spec else {
        return Err(Error::Config("it is no Pod: it has no spec".into()));
    };
    spec.node_name = Some(node.to_owned());
    // Whatever befalls the node, it stays.
    let everything = Toleration {
        effect: Some("NoExecute".into()),
        operator: Some("Exists".into()),
        ..Toleration::default()
    };
    spec.tolerations.get_or_insert_default().push(everything);
    let name = pod.metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(Error::Config("it has no name".into()));
    }
    let uid = hex::encode(&Sha256::digest(format!("{node}\n{text}"))[..16]);
    pod.metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(names::CONFIG_SOURCE.into(), "file".into());
    annotations.insert(names::CONFIG_HASH.into(), uid.clone());
    annotations.insert(names::CONFIG_SEEN.into(), jiff::Timestamp::now().to_string());
    pod.metadata.uid = Some(uid);
    pod.status = None;
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_becomes_a_pod_of_the_node_with_its_fingerprint_as_uid() {
        let text = "metadata: {name: etcd}\nspec: {containers: [{name: a, image: i}]}\n";
        let pod = parse("n1", text).unwrap();
        let again = parse("n1", text).unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("etcd-n1"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(pod.metadata.uid, again.metadata.uid);
        assert_ne!(pod.metadata.uid, parse("n1", &format!("{text}\n")).unwrap().metadata.uid);
        assert!(is_static(&pod) && !is_mirror(&pod));
        assert!(parse("n1", "metadata: {}\nspec: {containers: []}").is_err());
        assert!(parse("n1", "[]").is_err());
    }
}
