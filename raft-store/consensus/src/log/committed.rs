//! The committed part of a log, read without being its member: for people who want to know what
//! happened.

use std::{io, path::Path};

use super::disk::Disk;
use crate::{
    Entry, Payload,
    types::{self, RaftPayload},
};

/// Bytes of entries read at once.
const PAGE: usize = 4 << 20;

/// Reads the entries that the member with this directory (its [`Config`](crate::Config)'s
/// `data_dir`) knows to be committed and still has, in order. Changes nothing on disk, and works
/// beside a running member, as of the moment of the call.
pub fn read_committed(
    data_dir: &Path,
    mut each: impl FnMut(Entry) -> io::Result<()>,
) -> io::Result<()> {
    let disk = Disk::open_read_only(&data_dir.join("log"))?;
    let saved = disk.load()?;
    let end = saved.committed.map_or(0, |log| log.index + 1);
    let mut next = saved.purged.map_or(0, |log| log.index + 1);
    while next < end {
        let page = disk.range(next, end, PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for entry in page {
            let (index, term) = (entry.log_id.index, entry.log_id.leader_id.term);
            next = index + 1;
            let payload = match entry.payload {
                RaftPayload::Blank => Payload::Blank,
                RaftPayload::Normal(command) => Payload::Normal(command.0),
                RaftPayload::Membership(membership) => {
                    Payload::Membership(types::members(&membership))
                }
            };
            each(Entry { index, term, payload })?;
        }
    }
    Ok(())
}
