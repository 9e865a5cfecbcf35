//! From a file of etcd's into a state of ours: the same revisions, bytes, leases, alarms and
//! users.

use std::{io, path::Path};

use prost::Message as _;
use proto::etcdserverpb::AlarmMember;

use super::{LeaseRecord, reader::Reader};
use crate::state::{
    Rev,
    disk::{Batch, Disk, invalid},
    key_kind::{
        APPLIED, AUTH_ENABLED, AUTH_REVISION, COMPACTED, KeyKind, REVISION, SWEPT, parse_revision,
    },
    leases::Leases,
};

/// Bytes written at once, roughly.
const BATCH_BYTES: usize = 4 << 20;

/// What to change on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changes {
    /// Revisions to skip, so that clients that saw later ones than the snapshot has notice.
    pub(crate) bump: u64,
    /// Whether everything up to the newest revision counts as compacted.
    pub(crate) mark_compacted: bool,
}

/// Writes what the file holds into an empty state; blocks. `applied` is consensus' note on how
/// far the log of the new cluster has come.
pub(crate) fn import(
    reader: &Reader,
    disk: &Disk,
    changes: Changes,
    applied: &[u8],
) -> io::Result<()> {
    let mut writing = Writing { disk, batch: disk.batch() };
    let mut newest = Rev { main: 1, sub: 0 };
    reader.visit(b"key", |key, value| {
        let (rev, deleted) = parse_revision(key)?;
        newest = newest.max(rev);
        disk.put_version(&mut writing.batch, rev, deleted, value);
        writing.spill()
    })?;
    let (mut compacted, mut swept) = (-1, -1);
    reader.visit(b"meta", |key, value| {
        match key {
            b"scheduledCompactRev" => compacted = parse_revision(value)?.0.main,
            b"finishedCompactRev" => swept = parse_revision(value)?.0.main,
            _ => {}
        }
        Ok(())
    })?;
    compacted = compacted.max(swept);
    // After a compaction of everything there may be no version as new as it.
    let mut revision = newest.main.max(compacted);
    if changes.bump > 0 {
        let bump = i64::try_from(changes.bump).ok();
        let bumped = bump.and_then(|bump| revision.checked_add(bump));
        revision = bumped.ok_or_else(|| invalid("the revision cannot be raised so far"))?;
        // etcd leaves this mark, which belongs to no key, where the revisions go on.
        disk.put_version(&mut writing.batch, Rev { main: revision, sub: 0 }, false, b"");
    }
    if changes.mark_compacted {
        compacted = revision;
    }
    reader.visit(b"lease", |_, value| {
        let lease = LeaseRecord::decode(value).map_err(io::Error::other)?;
        Leases::put(&mut writing.batch, lease.id, lease.ttl, lease.remaining);
        writing.spill()
    })?;
    reader.visit(b"alarm", |key, _| {
        let alarm = AlarmMember::decode(key).map_err(io::Error::other)?;
        crate::state::alarms::put(&mut writing.batch, &alarm);
        Ok(())
    })?;
    let batch = &mut writing.batch;
    for (bucket, kind) in [(b"authUsers", KeyKind::User), (b"authRoles", KeyKind::Role)] {
        reader.visit(bucket, |key, value| {
            batch.put(kind, key, value);
            Ok(())
        })?;
    }
    reader.visit(b"auth", |key, value| {
        match key {
            b"authEnabled" => batch.put(KeyKind::Meta, AUTH_ENABLED.as_bytes(), value),
            b"authRevision" => batch.put(KeyKind::Meta, AUTH_REVISION.as_bytes(), value),
            _ => {}
        }
        Ok(())
    })?;
    batch.put_number(REVISION, revision);
    for (name, value) in [(COMPACTED, compacted), (SWEPT, swept)] {
        if value > 0 {
            batch.put_number(name, value);
        }
    }
    batch.put(KeyKind::Meta, APPLIED.as_bytes(), applied);
    writing.write()?;
    disk.flush()
}

/// Opens an empty state below a directory that holds none.
pub(crate) fn empty_state(root: &Path) -> io::Result<Disk> {
    if root.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a state already"));
    }
    Disk::open(root, &consensus::Reserve::default())
}

/// Values on their way to the disk.
struct Writing<'a> {
    disk: &'a Disk,
    batch: Batch,
}

impl Writing<'_> {
    /// Writes what has come together, if it is much.
    fn spill(&mut self) -> io::Result<()> {
        if self.batch.bytes() < BATCH_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        self.disk.write(std::mem::replace(&mut self.batch, self.disk.batch()))
    }
}
