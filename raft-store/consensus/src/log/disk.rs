//! The log's disk: what its keys are and how they are read and written. A RocksDB, unless a
//! simulation brings a disk of its own.
//!
//! `l` + index (big endian) is an entry, `m` + name is a value beside the log.

use std::{io, path::Path, sync::Arc, time::Duration};

use prost::Message as _;
use proto::peer as pb;
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};

use crate::{
    LogDisk, Reserve, Write,
    reserve::storage_error,
    types::{LogId, RaftEntry, Vote},
    wire,
    world::Visit,
};

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// How long a predecessor may keep the directory locked.
const PATIENCE: Duration = Duration::from_secs(5);
/// Memory for entries before they become a file.
const WRITE_BUFFER: usize = 32 << 20;
/// Bytes of entries read at once when a log is checked.
const CHECK_BYTES: usize = 4 << 20;
/// Write-ahead log kept before a flush is forced.
const WAL_BYTES: u64 = 128 << 20;

pub(super) struct Disk {
    device: Device,
}

enum Device {
    Rocks(DB),
    Given(Arc<dyn LogDisk>),
}

/// What a log said when it was opened.
pub(super) struct Saved {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
}

impl Disk {
    /// Opens the database; a lock held by another process may be a dying one's.
    pub(super) async fn open_patiently(dir: &Path, reserve: &Reserve) -> io::Result<Self> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match reserve.open(|| DB::open(&options(), dir).map_err(failed)) {
                Ok(db) => return Ok(Self { device: Device::Rocks(db) }),
                Err(error)
                    if error.to_string().contains("lock")
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the database to look at it, whether or not another process has it open.
    pub(super) fn open_read_only(dir: &Path) -> io::Result<Self> {
        let mut options = options();
        options.create_if_missing(false);
        let db = DB::open_for_read_only(&options, dir, false).map_err(failed)?;
        Ok(Self { device: Device::Rocks(db) })
    }

    /// A disk that a simulation brings.
    pub(super) fn given(disk: Arc<dyn LogDisk>) -> Self {
        Self { device: Device::Given(disk) }
    }

    /// The disk that a simulation has brought, if one has.
    pub(super) fn as_given(&self) -> Option<&Arc<dyn LogDisk>> {
        match &self.device {
            Device::Rocks(_) => None,
            Device::Given(disk) => Some(disk),
        }
    }

    pub(super) fn load(&self) -> io::Result<Saved> {
        let purged = self.log_id(PURGED)?;
        let last = match self.device.last(&key(u64::MAX))? {
            Some((key, value)) if key.first() == Some(&b'l') => Some(decode(&value)?.log_id),
            _ => None,
        };
        let vote = match self.note(VOTE)? {
            None => None,
            Some(bytes) => {
                let vote = pb::Vote::decode(bytes.as_slice()).map_err(io::Error::other)?;
                Some(wire::to_vote(Some(vote))?)
            }
        };
        self.check(purged.map_or(0, |log| log.index + 1), last)?;
        let last = last.max(purged);
        Ok(Saved { vote, committed: self.log_id(COMMITTED)?, purged, last })
    }

    /// Reads all entries once: a log with damage or a hole in the middle must not be used.
    fn check(&self, first: u64, last: Option<LogId>) -> io::Result<()> {
        let Some(last) = last else { return Ok(()) };
        let mut next = first;
        while next <= last.index {
            let page = self.range(next, last.index + 1, CHECK_BYTES).map_err(|error| {
                let text = format!("the log is damaged behind entry {next}: {error}");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            match (page.first(), page.last()) {
                // Nothing was purged yet, and the log of a new member begins later than the first.
                (Some(start), Some(end)) if start.log_id.index == next || first == 0 => {
                    next = end.log_id.index + 1;
                }
                _ => return Err(wire::invalid(&format!("the log has no entry {next}"))),
            }
        }
        Ok(())
    }

    pub(super) fn note(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.device.get(&note_key(name))
    }

    /// Entries in `[start, end)`, at most `bytes` of them but at least one.
    pub(super) fn range(&self, start: u64, end: u64, bytes: usize) -> io::Result<Vec<RaftEntry>> {
        let mut budget = bytes;
        let mut found: Vec<RaftEntry> = Vec::new();
        self.device.visit(&key(start), &key(end), &mut |value| {
            if budget < value.len() && !found.is_empty() {
                return Ok(false);
            }
            budget = budget.saturating_sub(value.len());
            let entry = decode(value)?;
            if let Some(last) = found.last()
                && last.log_id.index + 1 != entry.log_id.index
            {
                return Err(wire::invalid("the log on disk has a hole"));
            }
            found.push(entry);
            Ok(true)
        })?;
        Ok(found)
    }

    /// Writes a batch, durably if asked to; the batch may have to be written again. On a disk of a
    /// simulation it becomes durable with the next sync.
    pub(super) fn write(&self, batch: &Batch, sync: bool) -> io::Result<()> {
        self.device.write(&batch.writes, sync)
    }

    fn log_id(&self, name: &str) -> io::Result<Option<LogId>> {
        match self.note(name)? {
            None => Ok(None),
            Some(bytes) => match <[u8; 16]>::try_from(bytes) {
                Ok(bytes) => from_bytes(&bytes).map(Some),
                Err(_) => Err(wire::invalid("a log position of the wrong length")),
            },
        }
    }
}

impl Device {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Rocks(db) => db.get(key).map_err(failed),
            Self::Given(disk) => disk.get(key),
        }
    }

    /// The last key up to this one.
    fn last(&self, upto: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        match self {
            Self::Rocks(db) => {
                let mut entries = db.iterator(IteratorMode::From(upto, Direction::Reverse));
                let last = entries.next().transpose().map_err(failed)?;
                Ok(last.map(|(key, value)| (key.into_vec(), value.into_vec())))
            }
            Self::Given(disk) => disk.last(upto),
        }
    }

    fn visit(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> io::Result<()> {
        match self {
            Self::Rocks(db) => {
                let mut limits = ReadOptions::default();
                limits.set_iterate_upper_bound(to.to_vec());
                let mode = IteratorMode::From(from, Direction::Forward);
                for entry in db.iterator_opt(mode, limits) {
                    let (_, value) = entry.map_err(failed)?;
                    if !visit(&value)? {
                        break;
                    }
                }
                Ok(())
            }
            Self::Given(disk) => disk.visit(from, to, visit),
        }
    }

    fn write(&self, writes: &[Write], sync: bool) -> io::Result<()> {
        match self {
            Self::Rocks(db) => {
                let mut batch = WriteBatch::default();
                for write in writes {
                    match write {
                        Write::Put(key, value) => batch.put(key, value),
                        Write::Delete(key) => batch.delete(key),
                        Write::DeleteRange(from, to) => batch.delete_range(from, to),
                    }
                }
                let mut how = WriteOptions::default();
                how.set_sync(sync);
                db.write_opt(batch, &how).map_err(failed)
            }
            Self::Given(disk) => disk.write(writes.to_vec()),
        }
    }
}

/// Writes that become durable together.
#[derive(Default)]
pub(super) struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn entry(&mut self, entry: RaftEntry) {
        let at = key(entry.log_id.index);
        self.put(at.to_vec(), wire::entry(entry).encode_to_vec());
    }

    pub(super) fn truncate(&mut self, start: u64, end: u64) {
        for index in start..end {
            self.writes.push(Write::Delete(key(index).to_vec()));
            self.bytes += index.to_be_bytes().len();
        }
    }

    pub(super) fn purge(&mut self, upto: &LogId) {
        let (from, to) = (key(0).to_vec(), key(upto.index + 1).to_vec());
        self.writes.push(Write::DeleteRange(from, to));
        self.note(PURGED, &to_bytes(upto));
    }

    pub(super) fn vote(&mut self, vote: &Vote) {
        self.note(VOTE, &wire::vote(vote).encode_to_vec());
    }

    pub(super) fn committed(&mut self, committed: Option<LogId>) {
        if let Some(committed) = committed {
            self.note(COMMITTED, &to_bytes(&committed));
        }
    }

    pub(super) fn note(&mut self, name: &str, value: &[u8]) {
        self.put(note_key(name), value.to_vec());
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.writes.push(Write::Put(key, value));
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options
}

fn key(index: u64) -> [u8; 9] {
    let mut key = [b'l'; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn note_key(name: &str) -> Vec<u8> {
    [b"m", name.as_bytes()].concat()
}

fn to_bytes(log: &LogId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&log.leader_id.term.to_be_bytes());
    bytes[8..].copy_from_slice(&log.index.to_be_bytes());
    bytes
}

fn from_bytes(bytes: &[u8; 16]) -> io::Result<LogId> {
    let (mut term, mut index) = ([0; 8], [0; 8]);
    term.copy_from_slice(&bytes[..8]);
    index.copy_from_slice(&bytes[8..]);
    let (term, index) = (u64::from_be_bytes(term), u64::from_be_bytes(index));
    wire::to_log_id(pb::LogId { term, index })
}

fn decode(value: &[u8]) -> io::Result<RaftEntry> {
    wire::to_entry(pb::Entry::decode(value).map_err(io::Error::other)?)
}

fn failed(error: rocksdb::Error) -> io::Error {
    storage_error(error)
}
