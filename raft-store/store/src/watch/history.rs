//! Events from disk, for watchers that are behind the queues.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{WatchEvent, WatchSpec};
use crate::state::{KeyRange, State, disk, view};

/// Events of one step.
const EVENTS: usize = 1000;
/// Bytes of the values of one step.
const BYTES: usize = 1 << 20;
/// Versions looked at in one step.
const VERSIONS: usize = 20_000;

/// What one step found.
pub(super) enum Step {
    /// All events of the range in the revisions up to this one.
    Events(i64, Vec<WatchEvent>),
    /// Where history begins: after what was asked for.
    Compacted(i64),
}

/// Reads events of revisions `from..=to`, or of the first part of them; blocks.
pub(super) fn read(state: &State, spec: &WatchSpec, from: i64, to: i64) -> io::Result<Step> {
    let compacted = state.compacted();
    if from < compacted {
        return Ok(Step::Compacted(compacted));
    }
    let range = KeyRange::new(&spec.key, &spec.range_end);
    let mut events: Vec<WatchEvent> = Vec::new();
    let (mut bytes, mut seen, mut upto) = (0, 0, to);
    state.disk.visit(from, |rev, deleted, _, value| {
        let is_full = events.len() >= EVENTS || bytes >= BYTES || seen >= VERSIONS;
        let is_next = events.last().is_none_or(|last| last.kv.mod_revision < rev.main);
        if rev.main > to {
            return Ok(false);
        }
        if is_full && is_next {
            upto = rev.main - 1;
            return Ok(false);
        }
        seen += 1;
        if let Some(event) = event(state, spec, range, (rev.main, deleted), value)? {
            bytes += event.bytes();
            events.push(event);
        }
        Ok(true)
    })?;
    // Versions may have gone while this read: then it cannot tell what it has missed.
    let compacted = state.compacted();
    if from < compacted {
        return Ok(Step::Compacted(compacted));
    }
    Ok(Step::Events(upto, events))
}

fn event(
    state: &State,
    spec: &WatchSpec,
    range: KeyRange<'_>,
    (revision, deleted): (i64, bool),
    value: &[u8],
) -> io::Result<Option<WatchEvent>> {
    let mut kv = disk::decode(Bytes::copy_from_slice(value))?;
    if !range.contains(&kv.key) {
        return Ok(None);
    }
    kv.mod_revision = revision;
    // What was before can be asked for only where it can be read.
    let is_known = revision > state.compacted();
    let prev = match state.index.get(&kv.key, revision - 1) {
        Some(found) if spec.prev_kv && is_known => match view::newest(state).value(&found) {
            Ok(prev) => Some(prev),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        },
        _ => None,
    };
    Ok(Some(WatchEvent { kv: Arc::new(kv), prev, deleted }))
}
