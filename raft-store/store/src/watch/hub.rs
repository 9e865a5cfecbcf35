//! Where the applier publishes changes and watchers find theirs.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{EventBatch, group::Group};

/// The newest events and the groups that watch.
pub(crate) struct Hub {
    shared: Mutex<Shared>,
    /// Everything up to here is in the queues.
    published: AtomicI64,
    is_closed: AtomicBool,
    /// Values put and keys deleted since the start.
    puts: AtomicU64,
    deletes: AtomicU64,
    /// Bytes of keys and values put since the start.
    put_bytes: AtomicU64,
}

struct Shared {
    ring: Ring,
    groups: Groups,
}

/// The newest events of all keys, up to a number of bytes.
struct Ring {
    batches: VecDeque<Arc<EventBatch>>,
    bytes: usize,
    budget: usize,
    /// Events above this revision are all in the ring.
    floor: i64,
    /// Bytes that left since the groups' queues were last trimmed.
    left: usize,
}

impl Ring {
    fn push(&mut self, batch: Arc<EventBatch>) {
        self.bytes += batch.bytes;
        self.batches.push_back(batch);
        while self.bytes > self.budget
            && let Some(old) = self.batches.pop_front()
        {
            self.bytes -= old.bytes;
            self.left += old.bytes;
            self.floor = old.revision;
        }
    }

    fn from(&self, revision: i64) -> impl Iterator<Item = &Arc<EventBatch>> {
        let start = self.batches.partition_point(|batch| batch.revision < revision);
        self.batches.range(start..)
    }
}

/// A group and how many watchers it has.
struct Watched {
    group: Arc<Group>,
    watchers: usize,
}

/// The groups by what finds them fastest: a key, a prefix, or nothing better than trying.
#[derive(Default)]
struct Groups {
    keys: HashMap<Bytes, Watched>,
    /// By length, then by prefix.
    prefixes: BTreeMap<usize, HashMap<Bytes, Watched>>,
    others: HashMap<(Bytes, Bytes), Watched>,
}

impl Groups {
    /// Calls with every group that a key belongs to.
    fn matching(&self, key: &[u8], mut found: impl FnMut(&Arc<Group>)) {
        if let Some(watched) = self.keys.get(key) {
            found(&watched.group);
        }
        for (length, prefixes) in &self.prefixes {
            if let Some(prefix) = key.get(..*length)
                && let Some(watched) = prefixes.get(prefix)
            {
                found(&watched.group);
            }
        }
        for watched in self.others.values() {
            if watched.group.range().contains(key) {
                found(&watched.group);
            }
        }
    }

    fn get_or_insert(&mut self, key: &Bytes, end: &Bytes, floor: i64) -> &mut Watched {
        let new = || {
            let group = Arc::new(Group::new(key.clone(), end.clone(), floor));
            Watched { group, watchers: 0 }
        };
        if end.is_empty() {
            return self.keys.entry(key.clone()).or_insert_with(new);
        }
        if is_prefix(key, end) {
            let prefixes = self.prefixes.entry(key.len()).or_default();
            return prefixes.entry(key.clone()).or_insert_with(new);
        }
        self.others.entry((key.clone(), end.clone())).or_insert_with(new)
    }

    fn leave(&mut self, group: &Group) {
        let (key, end) = (&group.key, &group.end);
        if end.is_empty() {
            leave(&mut self.keys, key);
        } else if is_prefix(key, end) {
            let Some(prefixes) = self.prefixes.get_mut(&key.len()) else { return };
            leave(prefixes, key);
            if prefixes.is_empty() {
                self.prefixes.remove(&key.len());
            }
        } else {
            leave(&mut self.others, &(key.clone(), end.clone()));
        }
    }

    fn all_watched(&self) -> impl Iterator<Item = &Watched> {
        let prefixes = self.prefixes.values().flat_map(HashMap::values);
        self.keys.values().chain(prefixes).chain(self.others.values())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.all_watched().map(|watched| &watched.group)
    }
}

fn leave<K: std::hash::Hash + Eq>(groups: &mut HashMap<K, Watched>, key: &K) {
    if let Some(watched) = groups.get_mut(key) {
        watched.watchers -= 1;
        if watched.watchers == 0 {
            groups.remove(key);
        }
    }
}

/// Adds a group that is not there yet.
fn add(list: &mut Vec<Arc<Group>>, group: &Arc<Group>) {
    if !list.iter().any(|other| Arc::ptr_eq(other, group)) {
        list.push(group.clone());
    }
}

/// Whether a range is exactly the keys that begin with its first.
fn is_prefix(key: &[u8], end: &[u8]) -> bool {
    match (key.split_last(), end.split_last()) {
        (Some((last, key)), Some((next, end))) => key == end && last.checked_add(1) == Some(*next),
        _ => false,
    }
}

impl Hub {
    /// A hub whose events begin above a revision.
    pub(crate) fn new(revision: i64, budget: usize) -> Self {
        let batches = VecDeque::new();
        let ring = Ring { batches, bytes: 0, budget, floor: revision, left: 0 };
        Self {
            shared: Mutex::new(Shared { ring, groups: Groups::default() }),
            published: AtomicI64::new(revision),
            is_closed: AtomicBool::new(false),
            puts: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
        }
    }

    /// The revision up to which everything is in the queues.
    pub(crate) fn published(&self) -> i64 {
        self.published.load(Ordering::Acquire)
    }

    /// Whether no more events will come.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Adds revisions in order and wakes those they concern.
    pub(crate) fn publish(&self, batches: Vec<Arc<EventBatch>>) {
        let Some(revision) = batches.last().map(|batch| batch.revision) else { return };
        self.count(&batches);
        let mut woken: Vec<Arc<Group>> = Vec::new();
        {
            let mut shared = self.shared.lock();
            let Shared { ring, groups } = &mut *shared;
            let mut concerned: Vec<Arc<Group>> = Vec::new();
            for batch in batches {
                for event in &batch.events {
                    groups.matching(&event.kv.key, |group| add(&mut concerned, group));
                }
                for group in concerned.drain(..) {
                    if let Some(part) = group.part(&batch) {
                        group.push(part);
                    }
                    add(&mut woken, &group);
                }
                ring.push(batch);
            }
            if ring.left > ring.budget / 4 {
                ring.left = 0;
                groups.all().for_each(|group| group.trim(ring.floor));
            }
            self.published.store(revision, Ordering::Release);
        }
        for group in woken {
            group.wake(revision);
        }
    }

    /// Joins the group of a range, which then has events from `start` on unless the ring no
    /// longer has them.
    pub(super) fn join(
        &self,
        key: &Bytes,
        end: &Bytes,
        start: i64,
    ) -> (Arc<Group>, watch::Receiver<i64>) {
        let mut shared = self.shared.lock();
        let Shared { ring, groups } = &mut *shared;
        let published = self.published.load(Ordering::Acquire);
        let watched = groups.get_or_insert(key, end, published);
        watched.watchers += 1;
        let group = watched.group.clone();
        let floor = group.floor();
        if start <= floor && start > ring.floor {
            let older = ring.from(start).take_while(|batch| batch.revision <= floor);
            let older = older.filter_map(|batch| group.part(batch)).collect();
            group.extend_back(older, start - 1);
        }
        let changed = group.subscribe();
        (group, changed)
    }

    /// Leaves a group; the last one takes it along.
    pub(super) fn leave(&self, group: &Group) {
        self.shared.lock().groups.leave(group);
    }

    /// Begins anew at a revision that was not reached event by event. Watchers that are behind
    /// read history.
    pub(crate) fn reset(&self, revision: i64) {
        let shared = &mut *self.shared.lock();
        shared.ring.batches.clear();
        shared.ring.bytes = 0;
        shared.ring.floor = revision;
        self.published.store(revision, Ordering::Release);
        for group in shared.groups.all() {
            group.reset(revision);
            group.wake(revision);
        }
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for group in self.shared.lock().groups.all() {
            group.wake(i64::MAX);
        }
    }

    fn count(&self, batches: &[Arc<EventBatch>]) {
        for event in batches.iter().flat_map(|batch| &batch.events) {
            let count = if event.deleted { &self.deletes } else { &self.puts };
            count.fetch_add(1, Ordering::Relaxed);
            if !event.deleted {
                let bytes = event.kv.key.len() + event.kv.value.len();
                self.put_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        }
    }

    /// Bytes of keys and values put since the start.
    pub(crate) fn put_bytes(&self) -> u64 {
        self.put_bytes.load(Ordering::Relaxed)
    }

    /// Values put and keys deleted since the start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.puts.load(Ordering::Relaxed), self.deletes.load(Ordering::Relaxed))
    }

    /// How many watchers there are.
    pub(crate) fn watchers(&self) -> usize {
        self.shared.lock().groups.all_watched().map(|watched| watched.watchers).sum()
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.shared.lock().groups.all().count()
    }
}
