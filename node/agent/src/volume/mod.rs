//! Volumes of a Pod: made before its sandbox, renewed while it runs, removed with it.
//!
//! Files of ConfigMaps, Secrets, the downward API and projections are written atomically and again
//! whenever what they come from changes; a container that mounts a sub path keeps what it started
//! with.

pub(crate) mod atomic;
pub(crate) mod host_path;
pub(crate) mod mount;
pub(crate) mod objects;
pub(crate) mod payload;
pub(crate) mod subpath;
pub(crate) mod token;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::pod::fields::Place;
use crate::pod::security;
use crate::pod::shared::Shared;
use k8s_openapi::api::core::v1::{Pod, ProjectedVolumeSource, Volume};
use payload::{Payload, Sheet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use token::Tokens;

/// The volumes of one Pod.
#[derive(Default)]
pub(crate) struct Volumes {
    /// Tokens in use.
    tokens: Tokens,
}

/// What kind of volume it is, for paths.
fn plugin(volume: &Volume) -> &'static str {
    match volume {
        Volume { config_map: Some(_), .. } => "kubernetes.io~configmap",
        Volume { secret: Some(_), .. } => "kubernetes.io~secret",
        Volume { downward_api: Some(_), .. } => "kubernetes.io~downward-api",
        Volume { projected: Some(_), .. } => "kubernetes.io~projected",
        Volume { image: Some(_), .. } => "kubernetes.io~image",
        _ => "kubernetes.io~empty-dir",
    }
}

/// Where a volume lies on the node.
pub(crate) fn path(pod_dir: &Path, volume: &Volume) -> PathBuf {
    match &volume.host_path {
        Some(source) => PathBuf::from(&source.path),
        None => pod_dir.join("volumes").join(plugin(volume)).join(&volume.name),
    }
}

/// A failed mount, as its event says it.
fn failed(volume: &Volume, why: &str) -> Error {
    Error::Pod(format!("MountVolume.SetUp failed for volume \"{}\" : {why}", volume.name))
}

impl Volumes {
    /// Makes or renews all volumes of a Pod. May be repeated.
    pub(crate) async fn prepare(
        &mut self,
        ctx: &Ctx,
        shared: &Arc<Shared>,
        pod: &Pod,
        place: &Place,
    ) -> Result<()> {
        let dir = ctx.config.pod_dir(&shared.id.uid);
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        for volume in volumes.into_iter().flatten() {
            self.one(ctx, shared, pod, place, &dir, volume).await?;
        }
        Ok(())
    }

    /// When the next token must be renewed, nanoseconds since 1970.
    pub(crate) fn renew_at(&self) -> Option<i64> {
        self.tokens.renew_at()
    }

    /// Makes or renews one volume.
    async fn one(
        &mut self,
        ctx: &Ctx,
        shared: &Arc<Shared>,
        pod: &Pod,
        place: &Place,
        dir: &Path,
        volume: &Volume,
    ) -> Result<()> {
        let at = path(dir, volume);
        let needs = Needs { ctx, shared, pod, place };
        let payload = match volume {
            Volume { host_path: Some(source), .. } => {
                return host_path::check(source).map_err(|why| failed(volume, &why));
            }
            Volume { config_map: Some(source), .. } => {
                let sheet = Sheet { items: source.items.as_deref(), mode: source.default_mode };
                let optional = source.optional.unwrap_or(false);
                needs.config_map(&source.name, sheet, optional).await
            }
            Volume { secret: Some(source), .. } => {
                let sheet = Sheet { items: source.items.as_deref(), mode: source.default_mode };
                let name = source.secret_name.as_deref().unwrap_or_default();
                needs.secret(name, sheet, source.optional.unwrap_or(false)).await
            }
            Volume { downward_api: Some(source), .. } => {
                let items = source.items.as_deref().unwrap_or_default();
                payload::downward(pod, place, items, source.default_mode)
            }
            Volume { projected: Some(source), .. } => {
                self.projected(&needs, &volume.name, source).await
            }
            _ => return empty_dir(pod, volume, &at),
        };
        let payload = payload.map_err(|why| failed(volume, &why))?;
        if volume.config_map.is_none() {
            // Secrets never reach a disk.
            mount::tmpfs(&at, None)?;
        }
        atomic::write(&at, &payload, security::fs_group(pod))?;
        Ok(())
    }

    /// The files of a projected volume.
    async fn projected(
        &mut self,
        needs: &Needs<'_>,
        volume: &str,
        source: &ProjectedVolumeSource,
    ) -> Result<Payload, String> {
        let mode = source.default_mode;
        let mut all = Payload::new();
        for one in source.sources.iter().flatten() {
            if let Some(map) = &one.config_map {
                let sheet = Sheet { items: map.items.as_deref(), mode };
                let optional = map.optional.unwrap_or(false);
                all.extend(needs.config_map(&map.name, sheet, optional).await?);
            }
            if let Some(secret) = &one.secret {
                let sheet = Sheet { items: secret.items.as_deref(), mode };
                let optional = secret.optional.unwrap_or(false);
                all.extend(needs.secret(&secret.name, sheet, optional).await?);
            }
            if let Some(downward) = &one.downward_api {
                let items = downward.items.as_deref().unwrap_or_default();
                all.extend(payload::downward(needs.pod, needs.place, items, mode)?);
            }
            if let Some(wanted) = &one.service_account_token {
                let token = self.tokens.get(needs.ctx, needs.pod, volume, wanted).await?;
                let file = payload::token(needs.pod, token, mode);
                all.insert(wanted.path.clone(), file);
            }
            if one.cluster_trust_bundle.is_some() || one.pod_certificate.is_some() {
                return Err("this kind of projection is not supported".into());
            }
        }
        Ok(all)
    }
}

/// What a volume's files are drawn from.
struct Needs<'a> {
    ctx: &'a Ctx,
    shared: &'a Arc<Shared>,
    pod: &'a Pod,
    place: &'a Place,
}

impl Needs<'_> {
    /// The files of a ConfigMap.
    async fn config_map(
        &self,
        name: &str,
        sheet: Sheet<'_>,
        optional: bool,
    ) -> Result<Payload, String> {
        let found = self.ctx.objects.config_map(self.shared, name).await;
        let found = found.map_err(|error| error.text())?;
        if found.is_none() && !optional {
            return Err(format!("configmap \"{name}\" not found"));
        }
        payload::config_map(found.as_deref(), sheet, optional)
    }

    /// The files of a Secret.
    async fn secret(
        &self,
        name: &str,
        sheet: Sheet<'_>,
        optional: bool,
    ) -> Result<Payload, String> {
        let found = self.ctx.objects.secret(self.shared, name).await;
        let found = found.map_err(|error| error.text())?;
        if found.is_none() && !optional {
            return Err(format!("secret \"{name}\" not found"));
        }
        payload::secret(found.as_deref(), sheet, optional)
    }
}

/// Makes an empty directory that everybody in the Pod may use.
fn empty_dir(pod: &Pod, volume: &Volume, at: &Path) -> Result<()> {
    let Some(source) = &volume.empty_dir else {
        return match has_source(volume) {
            true => Err(failed(volume, "this kind of volume is not supported by this node")),
            false => atomic::directory(at, 0o777, security::fs_group(pod)),
        };
    };
    match source.medium.as_deref().unwrap_or_default() {
        "Memory" => {
            let limit = source.size_limit.as_ref().map(crate::pod::amount::whole);
            mount::tmpfs(at, limit.filter(|limit| *limit > 0))?;
        }
        "" => {}
        medium => return Err(failed(volume, &format!("unknown storage medium {medium:?}"))),
    }
    atomic::directory(at, 0o777, security::fs_group(pod))
}

/// Whether a volume names a source that we don't know.
fn has_source(volume: &Volume) -> bool {
    match serde_json::to_value(volume) {
        Ok(serde_json::Value::Object(fields)) => fields.keys().any(|key| key != "name"),
        _ => false,
    }
}

/// Unmounts and removes everything of a Pod that is gone.
pub(crate) async fn remove(pod_dir: PathBuf) -> Result<()> {
    let removal = tokio::task::spawn_blocking(move || {
        mount::unmount_below(&pod_dir)?;
        match std::fs::remove_dir_all(&pod_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &pod_dir)(error))
            }
            _ => Ok(()),
        }
    });
    removal.await.map_err(|_| Error::Pod("the removal of volumes panicked".into()))?
}
