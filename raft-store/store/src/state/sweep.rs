//! Takes compacted versions out of the index and off the disk, a slice at a time, beside
//! everything else.
//!
//! Losing part of it in a crash is harmless: the mark that says how far the disk has come is
//! written after the removals, and a restart begins again where it stands.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{State, key_kind::SWEPT};

/// Keys looked at in one slice.
const SLICE: usize = 512;
/// Pause between slices in which something was removed.
const PAUSE: Duration = Duration::from_millis(1);

/// Removes what the compaction up to `revision` has made unreadable.
pub(crate) async fn sweep(state: &Arc<State>, revision: i64) -> io::Result<()> {
    let mut after: Option<Bytes> = None;
    loop {
        let (removed, next) = slice(state, after.as_ref(), revision)?;
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
        if removed > 0 {
            tokio::time::sleep(PAUSE).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    let mut batch = state.disk.batch();
    batch.put_number(SWEPT, revision);
    state.disk.write(batch)?;
    state.swept.fetch_max(revision, Ordering::AcqRel);
    Ok(())
}

fn slice(
    state: &State,
    after: Option<&Bytes>,
    revision: i64,
) -> io::Result<(usize, Option<Bytes>)> {
    let mut removed = Vec::new();
    let next = state.index.sweep(after, SLICE, revision, &mut removed);
    if !removed.is_empty() {
        let mut batch = state.disk.batch();
        for version in &removed {
            state.disk.drop_version(&mut batch, version.rev, version.is_deleted());
        }
        state.disk.write(batch)?;
        state.counts.swept.fetch_add(removed.len() as u64, Ordering::Relaxed);
    }
    Ok((removed.len(), next))
}
