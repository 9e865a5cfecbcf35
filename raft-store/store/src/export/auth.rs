//! Users and roles in a file of etcd's: what is on disk here, byte by byte, in three buckets.

use std::io;

use super::bbolt::Database;
use crate::state::{State, key_kind::KeyKind};

/// Writes the buckets, in the order of their names.
pub(super) fn write(database: &mut Database, state: &State) -> io::Result<()> {
    let (is_enabled, revision) = {
        let auth = state.auth.read();
        (auth.is_enabled(), auth.revision())
    };
    let mut bucket = database.bucket("auth")?;
    bucket.put(b"authEnabled", &[u8::from(is_enabled)])?;
    bucket.put(b"authRevision", &revision.to_be_bytes())?;
    bucket.finish()?;
    for (name, kind) in [("authRoles", KeyKind::Role), ("authUsers", KeyKind::User)] {
        let mut bucket = database.bucket(name)?;
        for (key, value) in state.disk.all(kind)? {
            bucket.put(&key, &value)?;
        }
        bucket.finish()?;
    }
    Ok(())
}
