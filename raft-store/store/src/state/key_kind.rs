//! Every kind of key on disk, in one place. The bytes are never given to another kind.

use std::io;

use super::Rev;

/// What a key on disk stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyKind {
    /// A version of a key. In a column family of its own, with etcd's own bytes and no prefix.
    Revision = b'r',
    /// A single value, by name.
    Meta = b'm',
    /// A lease, by id.
    Lease = b'l',
    /// An alarm, by member and type.
    Alarm = b'a',
    /// What a member says about itself, by id.
    Member = b'n',
    /// A user, by name; etcd's own bytes.
    User = b'u',
    /// A role, by name; etcd's own bytes.
    Role = b'o',
}

/// Consensus' note on how far the state has come.
pub(crate) const APPLIED: &str = "applied";
/// The newest revision.
pub(crate) const REVISION: &str = "revision";
/// The revision below which history is forgotten.
pub(crate) const COMPACTED: &str = "compacted";
/// The revision below which history is also gone from disk.
pub(crate) const SWEPT: &str = "swept";
/// The newest position in the log and the hash over what led there.
pub(crate) const DIGEST: &str = "digest";
/// Set when the state was found to differ from a majority's.
pub(crate) const FENCED: &str = "fenced";
/// Whether users and roles count.
pub(crate) const AUTH_ENABLED: &str = "auth-enabled";
/// How often users and roles have changed.
pub(crate) const AUTH_REVISION: &str = "auth-revision";

impl KeyKind {
    /// Name of the column family for versions.
    pub(crate) const REVISIONS: &'static str = "rev";
    /// Name of the column family for everything else.
    pub(crate) const REST: &'static str = "default";

    /// A key of this kind.
    pub(crate) fn key(self, rest: &[u8]) -> Vec<u8> {
        debug_assert!(self != Self::Revision, "versions have no prefix");
        let mut key = Vec::with_capacity(1 + rest.len());
        key.push(self as u8);
        key.extend_from_slice(rest);
        key
    }
}

/// The key of a version: main, underscore, sub, and a `t` for a deletion: etcd's bytes.
pub(crate) fn revision_key(rev: Rev, deleted: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&rev.main.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&i64::from(rev.sub).to_be_bytes());
    if deleted {
        key.push(b't');
    }
    key
}

/// The inverse of [`revision_key`].
pub(crate) fn parse_revision(key: &[u8]) -> io::Result<(Rev, bool)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "a version with an unreadable key");
    let (main, rest) = key.split_first_chunk::<8>().ok_or_else(bad)?;
    let rest = rest.strip_prefix(b"_").ok_or_else(bad)?;
    let (sub, rest) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
    let sub = u32::try_from(i64::from_be_bytes(*sub)).map_err(|_| bad())?;
    let main = i64::from_be_bytes(*main);
    match rest {
        // Behind the last there is no room for another.
        _ if !(0..i64::MAX).contains(&main) => Err(bad()),
        b"" => Ok((Rev { main, sub }, false)),
        b"t" => Ok((Rev { main, sub }, true)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_keys_sort_by_revision_and_read_back() {
        let first = Rev { main: 2, sub: 300 };
        let second = Rev { main: 256, sub: 0 };
        assert!(revision_key(first, true) < revision_key(second, false));
        for deleted in [false, true] {
            let key = revision_key(first, deleted);
            assert_eq!(parse_revision(&key).unwrap(), (first, deleted));
        }
        assert!(parse_revision(b"short").is_err());
    }
}
