//! A checksum over all versions up to a revision: equal on members that hold the same.
//! The bytes and their order are etcd's.

use std::{collections::VecDeque, io, ops::ControlFlow, time::Duration};

use parking_lot::Mutex;

use crate::{
    Error,
    state::{KeyRange, State, disk},
};

/// What was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvHash {
    /// CRC-32C.
    pub(crate) hash: u32,
    /// The newest revision in it.
    pub(crate) revision: i64,
    /// The compacted revision then.
    pub(crate) compacted: i64,
}

/// Hashes of compactions that are remembered, as in etcd.
const KEPT: usize = 10;
/// Bytes that are hashed for a compaction before it lets others have the processor and the disk.
const STRETCH: usize = 1 << 20;
/// For so long.
const PAUSE: Duration = Duration::from_millis(5);

/// What was hashed up to a revision that was compacted then, newest last.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    hashes: Mutex<VecDeque<KvHash>>,
}

impl Kept {
    fn find(&self, revision: i64) -> Option<KvHash> {
        self.hashes.lock().iter().find(|hash| hash.revision == revision).copied()
    }

    fn keep(&self, hash: KvHash) {
        let mut hashes = self.hashes.lock();
        if hashes.len() == KEPT {
            hashes.pop_front();
        }
        hashes.push_back(hash);
    }
}

/// Hashes, and remembers, what a compaction is about to remove: versions up to its revision, of
/// which those before the last compaction are gone; blocks.
pub(crate) fn hash_compacted(state: &State, revision: i64, before: i64) -> io::Result<KvHash> {
    let mut bytes = 0;
    let hash = versions(state, revision, before, |length| {
        bytes += length;
        if bytes >= STRETCH {
            bytes = 0;
            std::thread::park_timeout(PAUSE);
        }
    })?;
    let hash = KvHash { hash, revision, compacted: before };
    state.hashes.keep(hash);
    Ok(hash)
}

/// Hashes versions up to a revision (0 is all); blocks. What a compaction has made unreadable
/// does not count, whether it is still on disk or not.
pub(crate) fn hash_kv(state: &State, revision: i64) -> Result<KvHash, Error> {
    if let Some(hash) = state.hashes.find(revision) {
        return Ok(hash);
    }
    loop {
        let (now, compacted) = (state.revision(), state.compacted());
        let upto = if revision == 0 { now } else { revision };
        if revision > 0 && revision < compacted {
            return Err(Error::Compacted);
        }
        if upto > now {
            return Err(Error::FutureRevision);
        }
        let hash = versions(state, upto, compacted, |_| ());
        let hash = hash.map_err(|error| Error::Internal(error.to_string()))?;
        if state.compacted() == compacted {
            return Ok(KvHash { hash, revision: upto, compacted });
        }
    }
}

/// Of what lies below the compacted revision, only what is still a key's value at `upto` counts;
/// all that can be read, when at `upto` there is no key at all. That is etcd's rule.
fn versions(
    state: &State,
    upto: i64,
    compacted: i64,
    mut read: impl FnMut(usize),
) -> io::Result<u32> {
    let mut is_empty = true;
    state.index.visit(KeyRange::new(b"\0", b"\0"), upto, |_, _| {
        is_empty = false;
        ControlFlow::Break(())
    });
    let counts = |key: &[u8], rev| match is_empty {
        true => state.index.is_kept(key, rev, compacted),
        false => state.index.get(key, upto).is_some_and(|found| found.version.rev == rev),
    };
    let mut hash = crc32c::crc32c(b"key");
    state.disk.visit(0, |rev, deleted, key, value| {
        if rev.main > upto {
            return Ok(false);
        }
        read(key.len() + value.len());
        if rev.main <= compacted {
            let kv = disk::decode(bytes::Bytes::copy_from_slice(value))?;
            if deleted || !counts(&kv.key, rev) {
                return Ok(true);
            }
        }
        hash = crc32c::crc32c_append(hash, key);
        hash = crc32c::crc32c_append(hash, value);
        Ok(true)
    })?;
    Ok(hash)
}

/// Hashes everything on disk; blocks.
pub(crate) fn hash_all(state: &State) -> io::Result<u32> {
    // Of nothing, too, there is a hash: JSON leaves out a zero.
    let mut hash = crc32c::crc32c(b"revisions");
    state.disk.visit(0, |_, _, key, value| {
        hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
        Ok(true)
    })?;
    Ok(hash)
}
