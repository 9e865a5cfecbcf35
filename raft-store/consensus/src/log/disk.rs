//! The log's RocksDB: what its keys are and how they are read and written.
//!
//! `l` + index (big endian) is an entry, `m` + name is a value beside the log.

use std::{io, path::Path, time::Duration};

use prost::Message as _;
use proto::peer as pb;
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};

use crate::{
    types::{LogId, RaftEntry, Vote},
    wire,
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
    db: DB,
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
    pub(super) async fn open_patiently(dir: &Path) -> io::Result<Self> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match DB::open(&options(), dir) {
                Ok(db) => return Ok(Self { db }),
                Err(error)
                    if error.as_ref().contains("lock")
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Opens the database to look at it, whether or not another process has it open.
    pub(super) fn open_read_only(dir: &Path) -> io::Result<Self> {
        let mut options = options();
        options.create_if_missing(false);
        Ok(Self { db: DB::open_for_read_only(&options, dir, false).map_err(failed)? })
    }

    pub(super) fn load(&self) -> io::Result<Saved> {
        let purged = self.log_id(PURGED)?;
        let last = {
            let mut entries =
                self.db.iterator(IteratorMode::From(&key(u64::MAX), Direction::Reverse));
            match entries.next().transpose().map_err(failed)? {
                Some((key, value)) if key.first() == Some(&b'l') => Some(decode(&value)?.log_id),
                _ => None,
            }
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
        self.db.get(note_key(name)).map_err(failed)
    }

    /// Entries in `[start, end)`, at most `bytes` of them but at least one.
    pub(super) fn range(&self, start: u64, end: u64, bytes: usize) -> io::Result<Vec<RaftEntry>> {
        let mut limits = ReadOptions::default();
        limits.set_iterate_upper_bound(key(end).to_vec());
        let from = key(start);
        let entries = self.db.iterator_opt(IteratorMode::From(&from, Direction::Forward), limits);
        let mut budget = bytes;
        let mut found: Vec<RaftEntry> = Vec::new();
        for entry in entries {
            let (_, value) = entry.map_err(failed)?;
            if budget < value.len() && !found.is_empty() {
                break;
            }
            budget = budget.saturating_sub(value.len());
            let entry = decode(&value)?;
            if let Some(last) = found.last()
                && last.log_id.index + 1 != entry.log_id.index
            {
                return Err(wire::invalid("the log on disk has a hole"));
            }
            found.push(entry);
        }
        Ok(found)
    }

    pub(super) fn write(&self, batch: Batch, sync: bool) -> io::Result<()> {
        let mut how = WriteOptions::default();
        how.set_sync(sync);
        self.db.write_opt(batch.inner, &how).map_err(failed)
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

/// Writes that become durable together.
#[derive(Default)]
pub(super) struct Batch {
    inner: WriteBatch,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.inner.size_in_bytes()
    }

    pub(super) fn entry(&mut self, entry: RaftEntry) {
        let at = key(entry.log_id.index);
        self.inner.put(at, wire::entry(entry).encode_to_vec());
    }

    pub(super) fn truncate(&mut self, start: u64, end: u64) {
        for index in start..end {
            self.inner.delete(key(index));
        }
    }

    pub(super) fn purge(&mut self, upto: &LogId) {
        self.inner.delete_range(key(0), key(upto.index + 1));
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
        self.inner.put(note_key(name), value);
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
    io::Error::other(error)
}
