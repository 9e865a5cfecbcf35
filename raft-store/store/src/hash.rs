//! A checksum over all versions up to a revision: equal on members that hold the same.
//! The bytes and their order are etcd's.

use std::io;

use crate::{
    Error,
    state::{State, disk},
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

/// Hashes versions up to a revision (0 is all); blocks. What a compaction has made unreadable
/// does not count, whether it is still on disk or not.
pub(crate) fn hash_kv(state: &State, revision: i64) -> Result<KvHash, Error> {
    loop {
        let (now, compacted) = (state.revision(), state.compacted());
        let upto = if revision == 0 { now } else { revision };
        if revision > 0 && revision < compacted {
            return Err(Error::Compacted);
        }
        if upto > now {
            return Err(Error::FutureRevision);
        }
        let hash = versions(state, upto, compacted);
        let hash = hash.map_err(|error| Error::Internal(error.to_string()))?;
        if state.compacted() == compacted {
            return Ok(KvHash { hash, revision: upto, compacted });
        }
    }
}

fn versions(state: &State, upto: i64, compacted: i64) -> io::Result<u32> {
    let mut hash = crc32c::crc32c(b"key");
    state.disk.visit(0, |rev, deleted, key, value| {
        if rev.main > upto {
            return Ok(false);
        }
        if rev.main <= compacted {
            let kv = disk::decode(bytes::Bytes::copy_from_slice(value))?;
            if deleted || !state.index.is_kept(&kv.key, rev, compacted) {
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
    let mut hash = 0;
    state.disk.visit(0, |_, _, key, value| {
        hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
        Ok(true)
    })?;
    Ok(hash)
}
