//! The watchers of one range of keys, and the events that wait for them.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::EventBatch;
use crate::state::KeyRange;

/// Events of one answer to a watcher, roughly.
const ANSWER_EVENTS: usize = 1000;
/// Bytes of one answer to a watcher, roughly.
const ANSWER_BYTES: usize = 1 << 20;

/// A range that somebody watches.
pub(crate) struct Group {
    /// First key.
    pub(crate) key: Bytes,
    /// Its end, as requests write it.
    pub(crate) end: Bytes,
    queue: Mutex<Queue>,
    /// The revision of the last event, to wait on.
    latest: watch::Sender<i64>,
}

struct Queue {
    /// Oldest first.
    batches: VecDeque<Arc<EventBatch>>,
    /// Events above this revision are all in the queue.
    floor: i64,
}

/// What a look into the queue found.
pub(crate) enum Look {
    /// Nothing from the wanted revision on.
    Nothing,
    /// The wanted revision is no longer, or not yet, covered by the queue.
    Behind,
    /// These, and whether they were all.
    Batches(Vec<Arc<EventBatch>>, bool),
}

impl Group {
    /// A group of a range; events above `floor` will be added.
    pub(super) fn new(key: Bytes, end: Bytes, floor: i64) -> Self {
        let queue = Mutex::new(Queue { batches: VecDeque::new(), floor });
        Self { key, end, queue, latest: watch::Sender::new(0) }
    }

    /// The keys of the group.
    pub(super) fn range(&self) -> KeyRange<'_> {
        KeyRange::new(&self.key, &self.end)
    }

    /// To be woken when there is something new.
    pub(super) fn subscribe(&self) -> watch::Receiver<i64> {
        self.latest.subscribe()
    }

    /// The part of a revision's changes that belongs here.
    pub(super) fn part(&self, batch: &Arc<EventBatch>) -> Option<Arc<EventBatch>> {
        let range = self.range();
        let count = batch.events.iter().filter(|event| range.contains(&event.kv.key)).count();
        match count {
            0 => None,
            count if count == batch.events.len() => Some(batch.clone()),
            _ => {
                let events = batch.events.iter().filter(|event| range.contains(&event.kv.key));
                Some(Arc::new(EventBatch::new(batch.revision, events.cloned().collect())))
            }
        }
    }

    /// Adds the newest events of the group.
    pub(super) fn push(&self, batch: Arc<EventBatch>) {
        self.queue.lock().batches.push_back(batch);
    }

    /// Puts older events before those in the queue: with them, it covers all above `floor`.
    pub(super) fn extend_back(&self, older: Vec<Arc<EventBatch>>, floor: i64) {
        let mut queue = self.queue.lock();
        for batch in older.into_iter().rev() {
            queue.batches.push_front(batch);
        }
        queue.floor = floor;
    }

    /// Forgets events up to a revision.
    pub(super) fn trim(&self, floor: i64) {
        let mut queue = self.queue.lock();
        while queue.batches.front().is_some_and(|batch| batch.revision <= floor) {
            queue.batches.pop_front();
        }
        queue.floor = queue.floor.max(floor);
    }

    /// Forgets everything: history begins anew above a revision.
    pub(super) fn reset(&self, floor: i64) {
        let mut queue = self.queue.lock();
        queue.batches.clear();
        queue.floor = floor;
    }

    /// The revision above which the queue has all events.
    pub(super) fn floor(&self) -> i64 {
        self.queue.lock().floor
    }

    /// Wakes the watchers.
    pub(super) fn wake(&self, revision: i64) {
        self.latest.send_replace(revision);
    }

    /// The events from a revision on, as many as fit into one answer.
    pub(super) fn look(&self, next: i64) -> Look {
        let queue = self.queue.lock();
        if next <= queue.floor {
            return Look::Behind;
        }
        let start = queue.batches.partition_point(|batch| batch.revision < next);
        let (mut found, mut events, mut bytes) = (Vec::new(), 0, 0);
        for batch in queue.batches.range(start..) {
            if events >= ANSWER_EVENTS || bytes >= ANSWER_BYTES {
                return Look::Batches(found, false);
            }
            events += batch.events.len();
            bytes += batch.bytes;
            found.push(batch.clone());
        }
        if found.is_empty() { Look::Nothing } else { Look::Batches(found, true) }
    }

    /// Whether nothing waits from a revision on.
    pub(super) fn is_drained(&self, next: i64) -> bool {
        let queue = self.queue.lock();
        let newest = queue.batches.back().map_or(i64::MIN, |batch| batch.revision);
        next > queue.floor && newest < next
    }
}
