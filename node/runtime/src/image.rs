//! The image store: what an image is here, where its layers lie, and which names it has.
//!
//! A *layer* is a directory of one file-system change set, named by its chain id: the digest of
//! everything up to and including it, so that equal stacks are stored once. An image is a stack of
//! layers plus a configuration.

mod archive;
mod busybox;
mod inflate;
pub mod reference;
#[cfg(test)]
mod tests;
mod unpack;

pub use busybox::{DEMO, build_busybox};

use crate::error::Doing;
use crate::{Error, Image, Result};
use nix::fcntl::{Flock, FlockArg};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Characters of a chain id that name a layer's directory: short, because overlayfs limits the
/// option string.
const LAYER_NAME: usize = 24;

/// How an image wants to be run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user[:group]`, by name or number.
    pub user: String,
    /// `NAME=value` lines.
    pub env: Option<Vec<String>>,
    /// First words of the command.
    pub entrypoint: Option<Vec<String>>,
    /// Its other words, or all of it without an entrypoint.
    pub cmd: Option<Vec<String>>,
    /// Directory to start in.
    pub working_dir: String,
    /// Signal that asks it to stop.
    pub stop_signal: Option<String>,
}

/// An image as the store keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// What the lists show.
    pub image: Image,
    /// Directory names of the layers, lowest first.
    pub layers: Vec<String>,
    /// How it wants to be run.
    pub config: RunConfig,
}

/// All images of a node.
pub struct Store {
    /// Where everything lies.
    root: PathBuf,
    /// The images; the file `images.json` says the same.
    index: Mutex<Index>,
    /// One import at a time: two would race for the same layers.
    importing: Mutex<()>,
}

/// The images, and which state of the file they are: another process may import, too.
#[derive(Default)]
struct Index {
    records: Vec<Record>,
    /// The file's number and time.
    stamp: Option<(u64, i64, i64)>,
}

impl Store {
    /// Opens the store in `root`, or makes it.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root.join("layers")).doing(|| format!("make {}", root.display()))?;
        let store =
            Self { root: root.to_owned(), index: Mutex::default(), importing: Mutex::new(()) };
        store.refresh(&mut store.index.lock())?;
        // Whoever holds the lock is importing: what looks left over may be its work.
        if let Ok(_lock) = store.lock_file(FlockArg::LockExclusiveNonblock) {
            store.remove_leftovers();
        }
        Ok(store)
    }

    /// The lock that processes share.
    fn lock_file(&self, how: FlockArg) -> Result<Flock<fs::File>> {
        let path = self.root.join("lock");
        let file = fs::File::create(&path).doing(|| format!("make {}", path.display()))?;
        let locked = Flock::lock(file, how).map_err(|(_, error)| error);
        locked.doing(|| format!("lock {}", path.display()))
    }

    /// Reads the file again if it is another one than before.
    fn refresh(&self, index: &mut Index) -> Result<()> {
        let path = self.root.join("images.json");
        let reading = || format!("read {}", path.display());
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).doing(reading),
        };
        let stamp = Some((meta.ino(), meta.mtime(), meta.mtime_nsec()));
        if index.stamp != stamp {
            let bytes = fs::read(&path).doing(reading)?;
            index.records = serde_json::from_slice(&bytes).map_err(|error| {
                Error::Invalid(format!("{} is damaged: {error}", path.display()))
            })?;
            index.stamp = stamp;
        }
        Ok(())
    }

    /// The images as they are now.
    fn current(&self) -> MutexGuard<'_, Index> {
        let mut index = self.index.lock();
        if let Err(error) = self.refresh(&mut index) {
            tracing::warn!(error = stdx::chain(&error), "list of images not read");
        }
        index
    }

    /// Takes all images of an archive. Blocks; nothing is half-made when it fails.
    pub fn import(&self, archive: &Path) -> Result<Vec<Image>> {
        self.import_named(archive, None)
    }

    /// The same; an image that is only tagged in the archive gets this name before its tag.
    pub fn import_named(&self, archive: &Path, base: Option<&str>) -> Result<Vec<Image>> {
        let _one_at_a_time = self.importing.lock();
        let _one_process_at_a_time = self.lock_file(FlockArg::LockExclusive)?;
        let scratch = self.root.join(format!(".import-{:016x}", rand::random::<u64>()));
        fs::create_dir_all(&scratch).doing(|| format!("make {}", scratch.display()))?;
        let found = archive::read(archive, &scratch, &self.root.join("layers"), base);
        let _ = fs::remove_dir_all(&scratch);
        let mut imported = Vec::new();
        for record in found? {
            imported.push(self.add(record)?);
        }
        Ok(imported)
    }

    /// All images.
    pub fn list(&self) -> Vec<Image> {
        self.current().records.iter().map(|record| record.image.clone()).collect()
    }

    /// The image that a name, digest reference or id means.
    pub fn resolve(&self, name: &str) -> Option<Record> {
        let index = self.current();
        let wanted = reference::normalize(name).ok();
        index
            .records
            .iter()
            .find(|record| {
                let image = &record.image;
                image.id == name
                    || image.id.strip_prefix("sha256:") == Some(name)
                    || wanted.as_ref().is_some_and(|wanted| {
                        image.tags.contains(wanted) || named_by_digest(image, wanted)
                    })
            })
            .cloned()
    }

    /// Removes one name; with the last one the image goes, and layers that nobody else needs.
    pub fn remove(&self, name: &str) -> Result<()> {
        let wanted = reference::normalize(name).ok();
        let _one_process_at_a_time = self.lock_file(FlockArg::LockExclusive)?;
        let dropped = {
            let mut index = self.current();
            let images = &mut index.records;
            let Some(at) = images.iter().position(|record| {
                record.image.id == name
                    || wanted.as_ref().is_some_and(|wanted| record.image.tags.contains(wanted))
            }) else {
                return Ok(());
            };
            if images[at].image.id == name {
                images[at].image.tags.clear();
            } else {
                images[at].image.tags.retain(|tag| Some(tag) != wanted.as_ref());
            }
            let last = images[at].image.tags.is_empty();
            let dropped = if last { images.remove(at).layers } else { Vec::new() };
            self.save(&mut index)?;
            dropped
        };
        let used: HashSet<String> =
            self.index.lock().records.iter().flat_map(|record| record.layers.clone()).collect();
        for layer in dropped.iter().filter(|layer| !used.contains(*layer)) {
            let path = self.root.join("layers").join(layer);
            fs::remove_dir_all(&path).doing(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Directories of an image's layers, top first, as overlayfs wants them.
    pub fn lower_dirs(&self, record: &Record) -> Vec<PathBuf> {
        record.layers.iter().rev().map(|layer| self.root.join("layers").join(layer)).collect()
    }

    /// Adds an image, or its new names to the one that is here already.
    fn add(&self, record: Record) -> Result<Image> {
        let image = {
            let mut index = self.current();
            let images = &mut index.records;
            for other in images.iter_mut() {
                other.image.tags.retain(|tag| !record.image.tags.contains(tag));
            }
            let image = match images.iter_mut().find(|other| other.image.id == record.image.id) {
                Some(known) => {
                    known.image.tags.extend(record.image.tags);
                    known.image.clone()
                }
                None => {
                    images.push(record.clone());
                    record.image
                }
            };
            self.save(&mut index)?;
            image
        };
        Ok(image)
    }

    /// Writes the index so that a crash leaves the old one or the new one.
    fn save(&self, index: &mut Index) -> Result<()> {
        let path = self.root.join("images.json");
        let bytes =
            serde_json::to_vec_pretty(&index.records).expect("records have string keys only");
        let written = replace(&path, &bytes);
        // After a failure the file is right, and is read again.
        index.stamp = None;
        if written.is_ok() {
            let meta = fs::metadata(&path).ok();
            index.stamp = meta.map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec()));
        }
        written
    }

    /// Removes what a killed import left behind.
    fn remove_leftovers(&self) {
        for dir in [self.root.clone(), self.root.join("layers")] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(".import-") {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
    }
}

/// Whether a `name@sha256:…` reference means this image.
fn named_by_digest(image: &Image, wanted: &str) -> bool {
    wanted.split_once('@').is_some_and(|(_, digest)| digest == image.digest || digest == image.id)
}

/// The directory name of a layer stack.
fn layer_name(chain_id: &str) -> String {
    let hex = chain_id.strip_prefix("sha256:").unwrap_or(chain_id);
    hex.chars().take(LAYER_NAME).collect()
}

/// The digest of some bytes, as `sha256:…`.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Replaces a file whole: written beside, synced, renamed.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    swap(path, bytes, true)
}

/// Replaces a file whole, for state that a power failure makes worthless anyway: a killed process
/// leaves the old or the new one, and nobody waits for the disk.
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<()> {
    swap(path, bytes, false)
}

/// Writes beside, and renames.
fn swap(path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    let beside = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&beside, path)
    };
    write().doing(|| format!("write {}", path.display()))
}
