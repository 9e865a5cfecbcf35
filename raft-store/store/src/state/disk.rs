//! The state's RocksDB: its files, options and reads. Without a write-ahead log, because the Raft
//! log is one: a crash loses what was not flushed, and consensus applies that again.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use consensus::{Reserve, is_full};
use parking_lot::RwLock;
use prost::Message as _;
use proto::mvccpb::KeyValue;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    Direction, FlushOptions, IteratorMode, Options, ReadOptions, ReadTier, WriteBatch,
    WriteOptions, checkpoint::Checkpoint,
};

use super::{
    Rev,
    held::{Change, Family, Held},
    key_kind::{APPLIED, KeyKind, parse_revision, revision_key},
};

/// File that names the directory in use.
const CURRENT: &str = "CURRENT-STATE";
/// Memory for versions before they become a file.
const WRITE_BUFFER: usize = 32 << 20;
/// Memory for everything else before it becomes a file.
const SMALL_BUFFER: usize = 4 << 20;
/// Memory for blocks that were read.
const BLOCK_CACHE: usize = 32 << 20;
/// How long a predecessor may keep the directory locked.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open state.
pub(crate) struct Disk {
    // Before the files, so that it is closed when they go.
    db: DB,
    files: Files,
    reserve: Reserve,
    /// What the database does not take for want of room.
    held: RwLock<Held>,
    /// Whether that is anything.
    is_holding: AtomicBool,
}

/// The files of a state, removed at the end of an abandoned one.
struct Files {
    dir: PathBuf,
    is_abandoned: AtomicBool,
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.is_abandoned.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "replaced state not removed");
        }
    }
}

impl Disk {
    /// Opens the directory in use below `root`, or makes the first.
    pub(crate) fn open(root: &Path, reserve: &Reserve) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let name = match fs::read_to_string(root.join(CURRENT)) {
            Ok(name) => {
                let name = name.trim();
                let number = name.strip_prefix("state-").map(str::parse::<u64>);
                if !matches!(number, Some(Ok(_))) {
                    return Err(invalid("CURRENT-STATE does not name a state"));
                }
                name.to_owned()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                set_current(root, "state-0")?;
                "state-0".to_owned()
            }
            Err(error) => return Err(error),
        };
        remove_others(root, &name)?;
        Self::open_at(root.join(name), reserve.clone())
    }

    /// Moves a finished copy below `root`, makes it the one in use, and opens it.
    pub(crate) fn adopt(root: &Path, copy: &Path, old: &Self) -> io::Result<Self> {
        let number = old
            .dir()
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("state-")?.parse::<u64>().ok())
            .unwrap_or(0);
        let name = format!("state-{}", number + 1);
        let dir = root.join(&name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::rename(copy, &dir)?;
        old.reserve.open(|| set_current(root, &name))?;
        Self::open_at(dir, old.reserve.clone())
    }

    fn open_at(dir: PathBuf, reserve: Reserve) -> io::Result<Self> {
        let families = || {
            let (revisions, rest) = (family(WRITE_BUFFER), family(SMALL_BUFFER));
            [
                ColumnFamilyDescriptor::new(KeyKind::REST, rest),
                ColumnFamilyDescriptor::new(KeyKind::REVISIONS, revisions),
            ]
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let open = || DB::open_cf_descriptors(&options(), &dir, families()).map_err(failed);
            match reserve.open(open) {
                Ok(db) => {
                    let is_abandoned = AtomicBool::new(false);
                    let (files, held) = (Files { dir, is_abandoned }, RwLock::default());
                    return Ok(Self {
                        db,
                        files,
                        reserve,
                        held,
                        is_holding: AtomicBool::default(),
                    });
                }
                Err(error)
                    if error.to_string().contains("lock")
                        && std::time::Instant::now() < deadline =>
                {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.files.dir
    }

    /// Has the files removed when the last reader has left.
    pub(crate) fn abandon(&self) {
        self.files.is_abandoned.store(true, Ordering::Release);
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("both families are created at open")
    }

    /// A single value.
    pub(crate) fn meta(&self, name: &str) -> io::Result<Option<Bytes>> {
        self.get(Family::Rest, &KeyKind::Meta.key(name.as_bytes()))
    }

    /// A number among the single values.
    pub(crate) fn number(&self, name: &str) -> io::Result<Option<i64>> {
        match self.meta(name)? {
            None => Ok(None),
            Some(bytes) => match <[u8; 8]>::try_from(&bytes[..]) {
                Ok(bytes) => Ok(Some(i64::from_be_bytes(bytes))),
                Err(_) => Err(invalid("a number of the wrong length")),
            },
        }
    }

    /// Consensus' note as a crash would leave it.
    pub(crate) fn flushed_applied(&self) -> io::Result<Option<Bytes>> {
        let mut how = ReadOptions::default();
        how.set_read_tier(ReadTier::Persisted);
        let key = KeyKind::Meta.key(APPLIED.as_bytes());
        Ok(self.db.get_opt(key, &how).map_err(failed)?.map(Bytes::from))
    }

    /// All values of a kind, with their keys less the prefix.
    pub(crate) fn all(&self, kind: KeyKind) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let from = [kind as u8];
        let held = self.held_from(Family::Rest, &from);
        let mut found = BTreeMap::new();
        for entry in self.db.iterator(IteratorMode::From(&from, Direction::Forward)) {
            let (key, value) = entry.map_err(failed)?;
            let Some((first, rest)) = key.split_first() else { continue };
            if *first != kind as u8 {
                break;
            }
            found.insert(rest.to_vec(), value.into_vec());
        }
        for (key, change) in held {
            let Some((_, rest)) = key.split_first().filter(|(first, _)| **first == kind as u8)
            else {
                break;
            };
            match change {
                Some(value) => found.insert(rest.to_vec(), value.into()),
                None => found.remove(rest),
            };
        }
        Ok(found.into_iter().collect())
    }

    /// The value of a version; none when it has been swept.
    pub(crate) fn version(&self, rev: Rev) -> io::Result<Option<KeyValue>> {
        self.get(Family::Revisions, &revision_key(rev, false))?.map(decode).transpose()
    }

    /// Many versions, best in the order of their revisions.
    pub(crate) fn versions(&self, revs: &[Rev]) -> io::Result<Vec<Option<KeyValue>>> {
        if self.is_holding() || revs.len() < 2 {
            return revs.iter().map(|rev| self.version(*rev)).collect();
        }
        let keys: Vec<_> = revs.iter().map(|rev| revision_key(*rev, false)).collect();
        let found = self.db.batched_multi_get_cf(self.family(KeyKind::REVISIONS), &keys, false);
        let decoded = found.into_iter().map(|value| {
            let value = value.map_err(failed)?.map(|value| Bytes::copy_from_slice(&value));
            value.map(decode).transpose()
        });
        decoded.collect()
    }

    fn get(&self, family: Family, key: &[u8]) -> io::Result<Option<Bytes>> {
        if self.is_holding()
            && let Some(change) = self.held.read().get(family, key)
        {
            return Ok(change);
        }
        let name = match family {
            Family::Rest => KeyKind::REST,
            Family::Revisions => KeyKind::REVISIONS,
        };
        Ok(self.db.get_cf(self.family(name), key).map_err(failed)?.map(Bytes::from))
    }

    /// What is held of keys from one on. To be asked for before the database is: what leaves meanwhile is in both.
    fn held_from(&self, family: Family, key: &[u8]) -> VecDeque<(Vec<u8>, Change)> {
        if self.is_holding() { self.held.read().from(family, key) } else { VecDeque::new() }
    }

    /// Visits versions from a revision on, oldest first, until told to stop.
    pub(crate) fn visit(
        &self,
        from: i64,
        mut visit: impl FnMut(Rev, bool, &[u8], &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let family = self.family(KeyKind::REVISIONS);
        let mut how = ReadOptions::default();
        how.set_readahead_size(1 << 20);
        let start = revision_key(Rev { main: from, sub: 0 }, false);
        let mut held = self.held_from(Family::Revisions, &start);
        let mut cursor = self.db.raw_iterator_cf_opt(family, how);
        cursor.seek(&start);
        let mut see = |key: &[u8], value: &[u8]| {
            let (rev, deleted) = parse_revision(key)?;
            visit(rev, deleted, key, value)
        };
        loop {
            let on_disk = cursor.item();
            let is_held = match (&on_disk, held.front()) {
                (Some((key, _)), Some((first, _))) => first.as_slice() <= *key,
                (_, first) => first.is_some(),
            };
            if is_held && let Some((key, change)) = held.pop_front() {
                if on_disk.is_some_and(|(other, _)| other == key) {
                    cursor.next();
                }
                if let Some(value) = change
                    && !see(&key, &value)?
                {
                    return Ok(());
                }
                continue;
            }
            let Some((key, value)) = on_disk else { break };
            if !see(key, value)? {
                return Ok(());
            }
            cursor.next();
        }
        cursor.status().map_err(failed)
    }

    /// Writes a batch, to memory: [`flush`](Self::flush) makes it durable. On a full disk it is only held.
    pub(crate) fn write(&self, batch: Batch) -> io::Result<()> {
        let mut held = self.held.write();
        if held.is_empty() {
            match self.put(batch.inner.data()) {
                Err(error) if is_full(&error) => self.reserve.give(&error),
                other => return other,
            }
        }
        held.push(&batch.inner);
        self.is_holding.store(true, Ordering::Release);
        self.put_held(&mut held)
    }

    /// Whether something waits for room.
    pub(crate) fn is_holding(&self) -> bool {
        self.is_holding.load(Ordering::Acquire)
    }

    /// Writes what is held, if there is room for that. An error is final: what is held will never be written.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if self.is_holding() { self.put_held(&mut self.held.write()) } else { Ok(()) }
    }

    fn put_held(&self, held: &mut Held) -> io::Result<()> {
        while let Some(first) = held.first() {
            match self.put(first) {
                Err(error) if is_full(&error) && !held.is_full() => {
                    let is_last = self.reserve.is_last_resort(&mut held.stuck);
                    return if is_last { Err(error) } else { Ok(()) };
                }
                Err(error) if is_full(&error) => self.reserve.write(|| self.put(first))?,
                other => other?,
            }
            held.pop();
        }
        self.is_holding.store(false, Ordering::Release);
        Ok(())
    }

    fn put(&self, batch: &[u8]) -> io::Result<()> {
        let mut how = WriteOptions::default();
        how.disable_wal(true);
        // A copy, as writing takes a batch away that may have to be written again.
        self.db.write_opt(WriteBatch::from_data(batch), &how).map_err(failed)
    }

    /// An empty batch.
    pub(crate) fn batch(&self) -> Batch {
        Batch { inner: WriteBatch::default() }
    }

    /// Adds a version to a batch.
    pub(crate) fn put_version(&self, batch: &mut Batch, rev: Rev, deleted: bool, value: &[u8]) {
        let family = self.family(KeyKind::REVISIONS);
        batch.inner.put_cf(family, revision_key(rev, deleted), value);
    }

    /// Adds the removal of a version to a batch.
    pub(crate) fn drop_version(&self, batch: &mut Batch, rev: Rev, deleted: bool) {
        let family = self.family(KeyKind::REVISIONS);
        batch.inner.delete_cf(family, revision_key(rev, deleted));
    }

    /// Makes everything written so far durable, both families at one point.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let families = [self.family(KeyKind::REST), self.family(KeyKind::REVISIONS)];
        self.reserve.write(|| {
            self.settle()?;
            if self.is_holding() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(failed)
        })
    }

    /// Writes a copy into a directory that does not exist yet.
    pub(crate) fn checkpoint(&self, dir: &Path) -> io::Result<()> {
        self.flush()?;
        let checkpoint = Checkpoint::new(&self.db).map_err(failed)?;
        self.reserve.write(|| checkpoint.create_checkpoint(dir).map_err(failed))
    }

    /// Rewrites the files without what has been removed.
    pub(crate) fn compact(&self) {
        let all = (None::<&[u8]>, None::<&[u8]>);
        self.db.compact_range_cf(self.family(KeyKind::REVISIONS), all.0, all.1);
        self.db.compact_range_cf(self.family(KeyKind::REST), all.0, all.1);
    }

    /// Bytes of the files and of what will become files; and those of them in use.
    pub(crate) fn sizes(&self) -> (i64, i64) {
        let sum = |name: &str| -> u64 {
            let of = |family| {
                let value = self.db.property_int_value_cf(self.family(family), name);
                value.ok().flatten().unwrap_or(0)
            };
            of(KeyKind::REST) + of(KeyKind::REVISIONS)
        };
        let memory = sum("rocksdb.cur-size-active-mem-table");
        // Not those that only wait for their deletion.
        let files = sum("rocksdb.live-sst-files-size");
        let live = sum("rocksdb.estimate-live-data-size").min(files);
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        (signed(files + memory), signed(live + memory))
    }
}

/// Writes that happen together.
pub(crate) struct Batch {
    inner: WriteBatch,
}

impl Batch {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.size_in_bytes()
    }

    /// Sets a value of any kind but versions.
    pub(crate) fn put(&mut self, kind: KeyKind, rest: &[u8], value: &[u8]) {
        self.inner.put(kind.key(rest), value);
    }

    /// Sets a number among the single values.
    pub(crate) fn put_number(&mut self, name: &str, value: i64) {
        self.put(KeyKind::Meta, name.as_bytes(), &value.to_be_bytes());
    }

    /// Removes a value of any kind but versions.
    pub(crate) fn delete(&mut self, kind: KeyKind, rest: &[u8]) {
        self.inner.delete(kind.key(rest));
    }
}

/// A stored version's value; its key and value share the bytes given.
pub(crate) fn decode(bytes: Bytes) -> io::Result<KeyValue> {
    KeyValue::decode(bytes).map_err(io::Error::other)
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options.set_max_open_files(512);
    options
}

fn family(buffer: usize) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
    table.set_block_size(16 << 10);
    let mut options = Options::default();
    options.set_write_buffer_size(buffer);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table);
    options
}

/// Names the directory in use, durably.
fn set_current(root: &Path, name: &str) -> io::Result<()> {
    let temporary = root.join(format!("{CURRENT}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, root.join(CURRENT))?;
    File::open(root)?.sync_all()
}

/// Removes what a replaced state or an interrupted replacement left behind.
fn remove_others(root: &Path, current: &str) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_state = name.to_str().is_some_and(|name| name.starts_with("state-"));
        if is_state && name != current {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn failed(error: rocksdb::Error) -> io::Error {
    consensus::storage_error(error)
}

pub(crate) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
