//! One watch: a place in its group's queue.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::sync::watch;

use super::{
    EventBatch, Hub, WatchBatch, WatchEvent, WatchSpec,
    group::{Group, Look},
    history::{self, Step},
};
use crate::state::Cell;

/// A watch. Dropping it ends it.
pub struct Watcher {
    spec: Arc<WatchSpec>,
    hub: Arc<Hub>,
    cell: Arc<Cell>,
    group: Arc<Group>,
    changed: watch::Receiver<i64>,
    /// Everything below this revision has been delivered.
    next: Arc<AtomicI64>,
    /// Where history begins, when the watch asked for what was before.
    compacted: Option<i64>,
    /// What events up to this one replaced is not told: it was compacted when the watch began.
    forgotten: i64,
    has_ended: bool,
}

impl Watcher {
    pub(crate) fn new(hub: Arc<Hub>, cell: Arc<Cell>, spec: WatchSpec) -> Self {
        let start = match spec.start_revision {
            start if start > 0 => start,
            _ => hub.published() + 1,
        };
        let (group, changed) = hub.join(&spec.key, &spec.range_end, start);
        let next = Arc::new(AtomicI64::new(start));
        let forgotten = cell.load().compacted();
        let compacted = Some(forgotten).filter(|compacted| start < *compacted);
        let spec = Arc::new(spec);
        Self { spec, hub, cell, group, changed, next, compacted, forgotten, has_ended: false }
    }

    /// The next events; `None` after [`WatchBatch::Compacted`] and when the store ends. Safe to
    /// cancel: what was not returned is not lost.
    pub async fn next(&mut self) -> Option<WatchBatch> {
        if let Some(compacted) = self.compacted.take() {
            self.has_ended = true;
            return Some(WatchBatch::Compacted(compacted));
        }
        while !self.has_ended && !self.hub.is_closed() {
            // In this order: what comes after the look wakes.
            self.changed.borrow_and_update();
            let published = self.hub.published();
            let next = self.next.load(Ordering::Relaxed);
            let found = match self.group.look(next) {
                Look::Behind => self.read_history(next).await,
                Look::Batches(batches, are_all) => self.take(&batches, are_all, published),
                Look::Nothing => {
                    self.changed.changed().await.ok()?;
                    None
                }
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The revision up to which everything has been delivered, when nothing waits.
    pub fn progress(&self) -> Option<i64> {
        self.tracker().progress()
    }

    /// A look at the watch's progress from elsewhere.
    pub(crate) fn tracker(&self) -> Tracker {
        Tracker { hub: self.hub.clone(), group: self.group.clone(), next: self.next.clone() }
    }

    /// Makes an answer of what waited in the queue.
    fn take(
        &mut self,
        batches: &[Arc<EventBatch>],
        are_all: bool,
        published: i64,
    ) -> Option<WatchBatch> {
        let last = batches.last()?.revision;
        let revision = if are_all { last.max(published) } else { last };
        let events = batches.iter().flat_map(|batch| &batch.events);
        let events: Vec<_> = events.filter(|event| self.wants(event)).cloned().collect();
        self.answer(revision, events)
    }

    async fn read_history(&mut self, next: i64) -> Option<WatchBatch> {
        let (state, spec) = (self.cell.load(), self.spec.clone());
        let to = self.hub.published().min(state.revision());
        let reading = move || history::read(&state, &spec, next, to);
        match stdx::simulated::blocking(reading).await {
            Ok(Ok(Step::Events(revision, mut events))) => {
                events.retain(|event| self.wants(event));
                self.answer(revision, events)
            }
            Ok(Ok(Step::Compacted(revision))) => {
                self.has_ended = true;
                Some(WatchBatch::Compacted(revision))
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "history not readable, a watch ends");
                self.has_ended = true;
                None
            }
            Err(_) => {
                self.has_ended = true;
                None
            }
        }
    }

    fn wants(&self, event: &WatchEvent) -> bool {
        if event.deleted { !self.spec.no_delete } else { !self.spec.no_put }
    }

    fn answer(&mut self, revision: i64, mut events: Vec<WatchEvent>) -> Option<WatchBatch> {
        self.next.fetch_max(revision + 1, Ordering::Relaxed);
        if events.is_empty() {
            return None;
        }
        for event in &mut events {
            if !self.spec.prev_kv || event.kv.mod_revision <= self.forgotten {
                event.prev = None;
            }
        }
        Some(WatchBatch::Events { revision, events })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.leave(&self.group);
    }
}

/// How far a watch has come, for whoever does not hold it.
pub(crate) struct Tracker {
    hub: Arc<Hub>,
    group: Arc<Group>,
    next: Arc<AtomicI64>,
}

impl Tracker {
    /// The revision up to which everything has been delivered, when nothing waits; none for a
    /// watch that begins in the future.
    pub(crate) fn progress(&self) -> Option<i64> {
        let published = self.hub.published();
        let next = self.next.load(Ordering::Relaxed);
        if next > published + 1 {
            return None;
        }
        self.group.is_drained(next).then_some(published)
    }
}
