//! Reads an image archive: finds the images in it, checks every digest, and unpacks layers that are
//! not here yet.
//!
//! Two forms exist, and both may be in one file: `manifest.json` as `docker save` writes it, and
//! `index.json` of an OCI layout. The first wins, because its names are complete.

use super::inflate::{self, Digesting};
use super::{Record, RunConfig, digest, layer_name, reference, unpack};
use crate::error::Doing;
use crate::{Error, Image, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// An index inside an index inside … ends here.
const MAX_DEPTH: usize = 4;

/// One image as `docker save` lists it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// A pointer to a blob.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// What a manifest is for.
#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An index: several manifests.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// A manifest: one image.
#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An image's configuration.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    config: Option<RunConfig>,
    rootfs: RootFs,
}

/// Its layers.
#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// An archive whose files were spread into a directory.
struct Archive<'a> {
    name: String,
    files: HashMap<String, PathBuf>,
    layers: &'a Path,
    /// What comes before a tag that stands alone.
    base: Option<&'a str>,
}

/// Reads an archive, or a directory with the same files; `scratch` is an empty directory that the
/// caller removes.
pub(super) fn read(
    path: &Path,
    scratch: &Path,
    layers: &Path,
    base: Option<&str>,
) -> Result<Vec<Record>> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let found = if path.is_dir() { walk(path) } else { spread(path, scratch) };
    let files = found.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Io { doing: format!("open {}", path.display()), source: error }
        }
        _ => Error::Archive { archive: name.clone(), reason: format!("not readable: {error}") },
    })?;
    let archive = Archive { name, files, layers, base };
    if archive.files.contains_key("manifest.json") {
        archive.docker()
    } else if archive.files.contains_key("index.json") {
        archive.oci()
    } else {
        Err(archive
            .broken("neither manifest.json (docker-archive) nor index.json (OCI layout) in it"))
    }
}

/// Writes every file of the archive to a numbered file of its own; links point to their targets'
/// files.
fn spread(path: &Path, scratch: &Path) -> std::io::Result<HashMap<String, PathBuf>> {
    let mut files = HashMap::new();
    let mut links = Vec::new();
    let mut tar = tar::Archive::new(inflate::open(path)?);
    for (number, entry) in tar.entries()?.enumerate() {
        let mut entry = entry?;
        let name = clean(&entry.path()?);
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let target = scratch.join(number.to_string());
            std::io::copy(&mut entry, &mut fs::File::create(&target)?)?;
            files.insert(name, target);
        } else if let (true, Some(to)) =
            (kind.is_symlink() || kind.is_hard_link(), entry.link_name()?)
        {
            let base = Path::new(&name).parent().unwrap_or(Path::new(""));
            let to = if kind.is_symlink() { clean(&base.join(to)) } else { clean(&to) };
            links.push((name, to));
        }
    }
    for (name, to) in links {
        if let Some(target) = files.get(&to).cloned() {
            files.insert(name, target);
        }
    }
    Ok(files)
}

/// The files of a directory by their paths in it.
fn walk(root: &Path) -> std::io::Result<HashMap<String, PathBuf>> {
    let mut files = HashMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                let inside = path.strip_prefix(root).expect("it was found below");
                files.insert(clean(inside), path.clone());
            }
        }
    }
    Ok(files)
}

/// A path without `.` and with `..` resolved inside the archive.
fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}

impl Archive<'_> {
    /// The images of `manifest.json`.
    fn docker(&self) -> Result<Vec<Record>> {
        let entries: Vec<DockerEntry> = self.json("manifest.json")?;
        if entries.is_empty() {
            return Err(self.broken("manifest.json lists no image"));
        }
        let mut records = Vec::new();
        for entry in entries {
            let tags = self.names(entry.repo_tags.unwrap_or_default())?;
            let config = self.bytes(&entry.config)?;
            let id = digest(&config);
            records.push(self.image(
                &config,
                &entry.layers,
                Image { digest: id.clone(), id, tags, ..Image::default() },
            )?);
        }
        Ok(records)
    }

    /// The images of `index.json`.
    fn oci(&self) -> Result<Vec<Record>> {
        let index: Index = self.json("index.json")?;
        let mut records = Vec::new();
        for descriptor in &index.manifests {
            records.push(self.oci_image(descriptor)?);
        }
        if records.is_empty() {
            return Err(self.broken("index.json lists no image"));
        }
        Ok(records)
    }

    /// One image of an OCI layout.
    fn oci_image(&self, top: &Descriptor) -> Result<Record> {
        let mut descriptor = top.clone();
        for _ in 0..MAX_DEPTH {
            if !descriptor.media_type.contains("index") && !descriptor.media_type.contains("list") {
                break;
            }
            let index: Index = self.parse(&descriptor.digest, &self.blob(&descriptor)?)?;
            descriptor = self.for_this_machine(index)?;
        }
        let manifest: Manifest = self.parse(&descriptor.digest, &self.blob(&descriptor)?)?;
        let config = self.blob(&manifest.config)?;
        let layers: Vec<String> =
            manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
        let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .iter()
            .find_map(|key| top.annotations.get(*key));
        self.image(
            &config,
            &layers,
            Image {
                id: digest(&config),
                digest: descriptor.digest,
                tags: self.names(name.cloned().into_iter().collect())?,
                ..Image::default()
            },
        )
    }

    /// The manifest of an index that fits this machine.
    fn for_this_machine(&self, index: Index) -> Result<Descriptor> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_none_or(|platform| {
                platform.os == "linux" && platform.architecture == architecture
            })
        };
        let found = index.manifests.iter().find(fits).cloned();
        found.ok_or_else(|| self.broken(&format!("no image for linux/{architecture} in it")))
    }

    /// Checks and unpacks the layers of one image.
    fn image(&self, config: &[u8], layers: &[String], mut image: Image) -> Result<Record> {
        let config: Config = self.parse("image configuration", config)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            return Err(self.broken(&format!(
                "configuration lists {} layers, manifest {}",
                diff_ids.len(),
                layers.len()
            )));
        }
        let (mut names, mut chain): (Vec<String>, Option<String>) = (Vec::new(), None);
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let next = match &chain {
                None => diff_id.clone(),
                Some(below) => digest(format!("{below} {diff_id}").as_bytes()),
            };
            let file = self.file(layer)?;
            let directory = self.layers.join(layer_name(&next));
            if !directory.exists() {
                let lower: Vec<PathBuf> =
                    names.iter().rev().map(|name| self.layers.join(name)).collect();
                self.unpack(file, diff_id, &directory, &lower)?;
            }
            image.size += fs::metadata(file).map(|meta| meta.len()).unwrap_or_default();
            names.push(layer_name(&next));
            chain = Some(next);
        }
        let config = config.config.unwrap_or_default();
        image.user.clone_from(&config.user);
        Ok(Record { image, layers: names, config })
    }

    /// Unpacks one layer beside its place and moves it there when its digest is right.
    fn unpack(&self, file: &Path, diff_id: &str, to: &Path, lower: &[PathBuf]) -> Result<()> {
        let beside = self.layers.join(format!(".import-{:016x}", rand::random::<u64>()));
        fs::create_dir_all(&beside).doing(|| format!("make {}", beside.display()))?;
        let unpacked = inflate::open(file).and_then(|reader| {
            let mut reader = Digesting::new(reader);
            unpack::layer(&mut reader, &beside, lower)?;
            reader.finish()
        });
        let checked = match unpacked {
            Err(error) => Err(self.broken(&format!("layer {diff_id}: {error}"))),
            Ok(found) if found != *diff_id => {
                Err(self
                    .broken(&format!("layer {diff_id} has digest {found}: the archive is damaged")))
            }
            Ok(_) => fs::rename(&beside, to).doing(|| format!("make {}", to.display())),
        };
        if checked.is_err() {
            let _ = fs::remove_dir_all(&beside);
        }
        checked
    }

    /// A blob, checked against its digest.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = self.bytes(&blob_path(&descriptor.digest))?;
        let found = digest(&bytes);
        if found != descriptor.digest {
            return Err(self.broken(&format!(
                "blob {} has digest {found}: the archive is damaged",
                descriptor.digest
            )));
        }
        Ok(bytes)
    }

    /// A file of the archive.
    fn file(&self, name: &str) -> Result<&PathBuf> {
        self.files
            .get(&clean(Path::new(name)))
            .ok_or_else(|| self.broken(&format!("{name} is missing: the archive is incomplete")))
    }

    /// The bytes of a small file.
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.file(name)?;
        fs::read(file).doing(|| format!("read {}", file.display()))
    }

    /// A JSON file.
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.parse(name, &self.bytes(name)?)
    }

    /// Reads JSON.
    fn parse<T: DeserializeOwned>(&self, what: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.broken(&format!("{what} is not valid: {error}")))
    }

    /// Full names; a bare tag (as some tools annotate) is one only after a given base.
    fn names(&self, found: Vec<String>) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let full =
            found.into_iter().filter_map(|name| match (name.contains([':', '/']), self.base) {
                (true, _) => Some(name),
                (false, Some(base)) => Some(format!("{base}:{name}")),
                (false, None) => None,
            });
        for name in full.collect::<Vec<_>>().iter() {
            names
                .push(reference::normalize(name).map_err(|error| self.broken(&error.to_string()))?);
        }
        Ok(names)
    }

    /// The error for this archive.
    fn broken(&self, reason: &str) -> Error {
        Error::Archive { archive: self.name.clone(), reason: reason.to_owned() }
    }
}

/// Where an OCI layout keeps a blob.
fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}
