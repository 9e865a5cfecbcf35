//! Snapshot files, as etcd's tools know them: what is in one, and a member's data made from one.
//!
//! A snapshot is a bbolt database with its SHA-256 behind it. The database of a stopped etcd
//! member is the same without the sum.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use prost::Message as _;
use proto::mvccpb::KeyValue;
use sha2::{Digest, Sha256};

use crate::{
    Error,
    export::{
        import::{self, Changes},
        reader::Reader,
    },
    state::key_kind::parse_revision,
};

/// Bytes of the sum behind a snapshot.
const SUM: u64 = 32;
/// A database is a multiple of this long, so that a sum behind it shows.
const SECTOR: u64 = 512;

/// What a snapshot file holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// CRC-32C over everything, as etcdutl computes it.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// Keys that exist at the newest revision.
    pub total_key: u64,
    /// Bytes of the database.
    pub total_size: u64,
    /// Version of the layout; empty before etcd 3.6.
    pub version: String,
}

/// How to make a member's data from a snapshot.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The snapshot.
    pub file: PathBuf,
    /// The member's directory, which must be empty or not be there.
    pub data_dir: PathBuf,
    /// The member's name.
    pub name: String,
    /// Where other members find it.
    pub peer_urls: Vec<String>,
    /// Names and peer URLs of all members of the new cluster.
    pub initial: Vec<(String, Vec<String>)>,
    /// Told apart from clusters with the same addresses.
    pub token: String,
    /// Whether to believe a file without its sum, or with a wrong one.
    pub skip_hash_check: bool,
    /// Revisions to skip.
    pub bump_revision: u64,
    /// Whether everything before the newest revision then counts as compacted.
    pub mark_compacted: bool,
}

/// Reads a snapshot file, all of it; blocks.
pub fn contents(file: &Path) -> Result<Contents, Error> {
    let read = || {
        let length = fs::metadata(file)?.len();
        let reader = Reader::open(file, length - sum_length(length))?;
        let mut found = Contents {
            hash: 0,
            revision: 0,
            total_key: 0,
            total_size: reader.length(),
            version: String::new(),
        };
        let mut alive = BTreeSet::new();
        for name in reader.buckets()? {
            found.hash = crc32c::crc32c_append(found.hash, &name);
            reader.visit(&name, |key, value| {
                found.hash = crc32c::crc32c_append(found.hash, key);
                found.hash = crc32c::crc32c_append(found.hash, value);
                if name == b"key" {
                    let (rev, deleted) = parse_revision(key)?;
                    found.revision = rev.main;
                    let key = KeyValue::decode(value).map_err(io::Error::other)?.key;
                    match deleted {
                        true => alive.remove(&key),
                        false => alive.insert(key),
                    };
                }
                if name == b"meta" && key == b"storageVersion" {
                    found.version = String::from_utf8_lossy(value).into_owned();
                }
                Ok(())
            })?;
        }
        found.total_key = alive.len() as u64;
        Ok(found)
    };
    read().map_err(|error: io::Error| failed(format!("snapshot {}", file.display()), &error))
}

/// Makes a member's data from a snapshot. All members of the new cluster must be made from the
/// same one.
pub async fn restore(restore: Restore) -> Result<(), Error> {
    check_members(&restore)?;
    let dir = restore.data_dir.clone();
    let is_free = match fs::read_dir(&dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        let text = format!("data-dir \"{}\" not empty or could not be read", dir.display());
        return Err(Error::Start(text));
    }
    let made = make(restore).await;
    if made.is_err()
        && let Err(error) = fs::remove_dir_all(&dir)
    {
        tracing::debug!(%error, dir = %dir.display(), "half-made data not removed");
    }
    made
}

async fn make(restore: Restore) -> Result<(), Error> {
    let mut config = crate::Config::new(
        &restore.name,
        restore.data_dir.clone(),
        std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
    );
    config.peer_urls.clone_from(&restore.peer_urls);
    config.initial.clone_from(&restore.initial);
    config.token.clone_from(&restore.token);
    if !restore.skip_hash_check {
        let file = restore.file.clone();
        blocking(move || check_sum(&file)).await?;
    }
    let applied = consensus::seed(&config.consensus()).await?;
    blocking(move || {
        let write = || {
            let length = fs::metadata(&restore.file)?.len();
            let reader = Reader::open(&restore.file, length - sum_length(length))?;
            let disk = import::empty_state(&restore.data_dir.join("store"))?;
            let changes =
                Changes { bump: restore.bump_revision, mark_compacted: restore.mark_compacted };
            import::import(&reader, &disk, changes, &applied)
        };
        write().map_err(|error| failed(format!("restoring {}", restore.file.display()), &error))
    })
    .await
}

/// Whether the members of the new cluster make sense, in etcd's words.
fn check_members(restore: &Restore) -> Result<(), Error> {
    let named = restore.initial.iter().find(|(name, _)| *name == restore.name);
    let Some((_, urls)) = named else {
        let name = &restore.name;
        let text =
            format!("couldn't find local name \"{name}\" in the initial cluster configuration");
        return Err(Error::Start(text));
    };
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    if sorted(urls) != sorted(&restore.peer_urls) {
        let of = |urls: &[String]| {
            let named: Vec<_> = urls.iter().map(|url| format!("{}={url}", restore.name)).collect();
            named.join(",")
        };
        return Err(Error::Start(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
            of(urls),
            restore.peer_urls.join(",")
        )));
    }
    if restore.mark_compacted != (restore.bump_revision > 0) {
        let text = "--mark-compacted required if --revision-bump > 0";
        return Err(Error::Start(text.to_owned()));
    }
    Ok(())
}

/// Compares the file with the sum behind it.
pub(crate) fn check_sum(file: &Path) -> Result<(), Error> {
    let read = || {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        if sum_length(length) == 0 {
            return Ok(Err("snapshot missing hash but --skip-hash-check=false".to_owned()));
        }
        let mut hash = Sha256::new();
        io::copy(&mut (&mut file).take(length - SUM), &mut hash)?;
        let mut expected = [0; SUM as usize];
        file.read_exact(&mut expected)?;
        let found: [u8; SUM as usize] = hash.finalize().into();
        if found != expected {
            let text = |sum: [u8; SUM as usize]| {
                let numbers: Vec<_> = sum.iter().map(u8::to_string).collect();
                numbers.join(" ")
            };
            return Ok(Err(format!("expected sha256 [{}], got [{}]", text(expected), text(found))));
        }
        Ok(Ok(()))
    };
    match read() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(text)) => Err(Error::Start(text)),
        Err(error) => Err(failed(format!("snapshot {}", file.display()), &error)),
    }
}

/// Bytes of the sum behind a file of this length.
fn sum_length(length: u64) -> u64 {
    if length % SECTOR == SUM { SUM } else { 0 }
}

fn failed(what: String, error: &io::Error) -> Error {
    Error::Start(format!("{what}: {error}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => Err(Error::Internal(panic.to_string())),
    }
}
