//! Where every key's versions are: in memory, ordered by key, so that reads find the version for
//! a revision without touching the disk.
//!
//! One thread writes (the applier), another removes (the sweeper), any number read: the map is
//! lock-free and a key's versions sit behind a lock held for nanoseconds.
//!
//! ```text
//! put a=1 (rev 2) · put a=2 (rev 3) · delete a (rev 4) · put a=3 (rev 6)
//! "a" ─▶ 2 (version 1, created 2) · 3 (version 2, created 2) · 4 ✝ · 6 (version 1, created 6)
//! read at 3 → 3; at 4 or 5 → nothing; now → 6.   swept at 4 → 4 ✝ · 6;  at 5 → 6
//! ```

use std::{
    ops::{Bound, ControlFlow},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use crossbeam_epoch as epoch;
use crossbeam_skiplist::base::{Entry, SkipList};
use parking_lot::Mutex;
use proto::mvccpb::KeyValue;

/// Where a version stands: the store's revision, and its place within that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Rev {
    /// The store's revision.
    pub(crate) main: i64,
    /// Place among the changes of one revision.
    pub(crate) sub: u32,
}

/// What a version is, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// When it was made.
    pub(crate) rev: Rev,
    /// Revision of the first version since the key last did not exist.
    pub(crate) create: i64,
    /// Number of versions since then; 0 for a deletion.
    pub(crate) version: i64,
    /// Its lease; 0 is none.
    pub(crate) lease: i64,
}

impl Version {
    /// Whether it is a deletion.
    pub(crate) fn is_deleted(&self) -> bool {
        self.version == 0
    }
}

/// A version that a read has found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) version: Version,
    /// Its value, where it is in memory.
    pub(crate) kv: Option<Arc<KeyValue>>,
}

/// The versions of one key. Most keys have one, and most reads want the newest: it needs no memory of its own.
#[derive(Default)]
struct Chain {
    newest: Option<Version>,
    /// Those before it, oldest first.
    older: Vec<Version>,
    /// The newest version's value, where it is in memory.
    kv: Option<Arc<KeyValue>>,
    /// Taken out of the map: nothing may be added any more.
    is_gone: bool,
}

/// A version in its chain, and its value where it is in memory.
pub(crate) type Spot<'a> = (&'a Version, Option<&'a Arc<KeyValue>>);

impl From<Spot<'_>> for Found {
    fn from((version, kv): Spot<'_>) -> Self {
        Self { version: *version, kv: kv.cloned() }
    }
}

impl Chain {
    fn at(&self, revision: i64) -> Option<Spot<'_>> {
        let newest = self.newest.as_ref()?;
        let spot = if newest.rev.main <= revision {
            (newest, self.kv.as_ref())
        } else {
            let count = self.older.partition_point(|version| version.rev.main <= revision);
            (self.older[..count].last()?, None)
        };
        (!spot.0.is_deleted()).then_some(spot)
    }

    fn push(&mut self, version: Version) {
        self.older.extend(self.newest.replace(version));
    }

    /// Place of the first version, of all in their order, that can still be read at `revision` or later: the newest
    /// at that revision, unless it is a deletion from before.
    fn first_kept(&self, revision: i64) -> usize {
        let is_over = |version: &Version| version.is_deleted() && version.rev.main < revision;
        match &self.newest {
            Some(newest) if newest.rev.main <= revision => {
                self.older.len() + usize::from(is_over(newest))
            }
            _ => {
                let count = self.older.partition_point(|version| version.rev.main <= revision);
                match self.older[..count].last() {
                    Some(last) if !is_over(last) => count - 1,
                    _ => count,
                }
            }
        }
    }

    /// Takes out the versions before a place.
    fn drain(&mut self, count: usize, removed: &mut Vec<Version>) {
        let is_all = count > self.older.len();
        removed.extend(self.older.drain(..count.min(self.older.len())));
        if self.older.len() * 4 < self.older.capacity() {
            self.older.shrink_to_fit();
        }
        if is_all {
            removed.extend(self.newest.take());
        }
    }
}

/// A range of keys as requests write it: no end is one key, a zero byte as end is all that
/// follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyRange<'a> {
    /// First key.
    pub(crate) key: &'a [u8],
    /// First key beyond, or one of the special values.
    pub(crate) end: &'a [u8],
}

impl<'a> KeyRange<'a> {
    /// The range between a request's fields.
    pub(crate) fn new(key: &'a [u8], end: &'a [u8]) -> Self {
        Self { key, end }
    }

    /// Whether it is one key.
    pub(crate) fn is_single(self) -> bool {
        self.end.is_empty()
    }

    /// Whether a key belongs.
    pub(crate) fn contains(self, key: &[u8]) -> bool {
        match self.end {
            [] => key == self.key,
            [0] => key >= self.key,
            end => key >= self.key && key < end,
        }
    }

    fn bounds(self) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        let end = match self.end {
            [0] => Bound::Unbounded,
            end => Bound::Excluded(end),
        };
        (Bound::Included(self.key), end)
    }

    fn is_empty(self) -> bool {
        !self.end.is_empty() && self.end != [0] && self.key >= self.end
    }
}

/// All keys and their versions. Readers pin what they walk over, so that they need not count themselves at every key:
/// counts that many readers change are what a walk costs most.
pub(crate) struct Index {
    keys: SkipList<Bytes, Mutex<Chain>>,
    /// Keys that exist now.
    alive: AtomicUsize,
}

/// The newest revision, whatever it is.
pub(crate) const NOW: i64 = i64::MAX;

impl Default for Index {
    fn default() -> Self {
        let keys = SkipList::new(epoch::default_collector().clone());
        Self { keys, alive: AtomicUsize::new(0) }
    }
}

impl Index {
    /// The version of a key at a revision, unless it is a deletion.
    pub(crate) fn get(&self, key: &[u8], revision: i64) -> Option<Found> {
        let guard = epoch::pin();
        let entry = self.keys.get(key, &guard)?;
        let chain = entry.value().lock();
        chain.at(revision).map(Found::from)
    }

    /// The newest version of a key, even a deletion, and the key's shared bytes.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<(Bytes, Version)> {
        let guard = epoch::pin();
        let entry = self.keys.get(key, &guard)?;
        let version = entry.value().lock().newest?;
        Some((entry.key().clone(), version))
    }

    /// Visits the keys of a range, in order, that exist at a revision. A key is locked while it is visited.
    pub(crate) fn visit(
        &self,
        range: KeyRange<'_>,
        revision: i64,
        mut visit: impl FnMut(&Bytes, Spot<'_>) -> ControlFlow<()>,
    ) {
        let guard = epoch::pin();
        let mut one = |entry: Entry<'_, '_, Bytes, Mutex<Chain>>| {
            let chain = entry.value().lock();
            let spot = chain.at(revision);
            spot.map_or(ControlFlow::Continue(()), |spot| visit(entry.key(), spot))
        };
        if range.is_single() {
            if let Some(ControlFlow::Break(())) = self.keys.get(range.key, &guard).map(one) {
                tracing::trace!("a visit to one key ends anyway");
            }
            return;
        }
        if range.is_empty() {
            return;
        }
        for entry in self.keys.range::<[u8], _>(range.bounds(), &guard) {
            if one(entry).is_break() {
                return;
            }
        }
    }

    /// Adds a version, newer than all of its key, with its value if that shall stay in memory.
    pub(crate) fn add(&self, key: &Bytes, version: Version, kv: Option<Arc<KeyValue>>) {
        let guard = epoch::pin();
        loop {
            let entry = self.keys.get_or_insert_with(key.clone(), Mutex::default, &guard);
            let mut chain = entry.value().lock();
            let is_gone = chain.is_gone;
            if !is_gone {
                self.push(&mut chain, version);
                chain.kv.clone_from(&kv);
            }
            drop(chain);
            if is_gone {
                entry.remove(&guard);
            }
            entry.release(&guard);
            if !is_gone {
                return;
            }
        }
    }

    /// Adds a version from disk; a key's versions come oldest first.
    pub(crate) fn load(&self, key: &[u8], version: Version) {
        let guard = epoch::pin();
        if let Some(entry) = self.keys.get(key, &guard) {
            return self.push(&mut entry.value().lock(), version);
        }
        let key = Bytes::copy_from_slice(key);
        let entry = self.keys.get_or_insert_with(key, Mutex::default, &guard);
        self.push(&mut entry.value().lock(), version);
        entry.release(&guard);
    }

    fn push(&self, chain: &mut Chain, version: Version) {
        let was_alive = chain.newest.is_some_and(|newest| !newest.is_deleted());
        match (was_alive, !version.is_deleted()) {
            (false, true) => self.alive.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.alive.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        chain.push(version);
    }

    /// How many keys exist now.
    pub(crate) fn keys(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// Lets go of a value, if it is still its key's newest and of this revision.
    pub(crate) fn forget_value(&self, key: &[u8], revision: i64) {
        let guard = epoch::pin();
        if let Some(entry) = self.keys.get(key, &guard) {
            let mut chain = entry.value().lock();
            if chain.newest.is_some_and(|version| version.rev.main == revision) {
                chain.kv = None;
            }
        }
    }

    /// Removes what nobody can read at `revision` or later from up to `limit` keys that follow
    /// `after`; hands out what it removed, and returns where to go on, if there is more.
    pub(crate) fn sweep(
        &self,
        after: Option<&Bytes>,
        limit: usize,
        revision: i64,
        removed: &mut Vec<Version>,
    ) -> Option<Bytes> {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        let mut seen = 0;
        let guard = epoch::pin();
        for entry in self.keys.range::<[u8], _>((from, Bound::Unbounded), &guard) {
            let is_gone = {
                let mut chain = entry.value().lock();
                let kept = chain.first_kept(revision);
                chain.drain(kept, removed);
                chain.is_gone = chain.newest.is_none();
                chain.is_gone
            };
            if is_gone {
                entry.remove();
            }
            seen += 1;
            if seen == limit {
                return Some(entry.key().clone());
            }
        }
        None
    }

    /// Whether a version can still be read at `compacted` or later.
    pub(crate) fn is_kept(&self, key: &[u8], rev: Rev, compacted: i64) -> bool {
        let guard = epoch::pin();
        let Some(entry) = self.keys.get(key, &guard) else { return false };
        let chain = entry.value().lock();
        let all = chain.older.iter().chain(&chain.newest);
        all.skip(chain.first_kept(compacted)).any(|version| version.rev == rev)
    }

    /// Visits every key's newest version.
    pub(crate) fn visit_newest(&self, mut visit: impl FnMut(&Bytes, Version)) {
        let guard = epoch::pin();
        for entry in self.keys.iter(&guard) {
            let newest = entry.value().lock().newest;
            if let Some(version) = newest {
                visit(entry.key(), version);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: i64, create: i64, version: i64) -> Version {
        Version { rev: Rev { main, sub: 0 }, create, version, lease: 0 }
    }

    fn example() -> Index {
        let index = Index::default();
        let key = Bytes::from("a");
        for version in [put(2, 2, 1), put(3, 2, 2), put(4, 0, 0), put(6, 6, 1)] {
            index.add(&key, version, None);
        }
        index
    }

    fn main_at(index: &Index, revision: i64) -> Option<i64> {
        index.get(b"a", revision).map(|found| found.version.rev.main)
    }

    #[test]
    fn a_read_finds_the_version_of_its_revision() {
        let index = example();
        let found: Vec<_> = (1..=7).map(|revision| main_at(&index, revision)).collect();
        assert_eq!(found, [None, Some(2), Some(3), None, None, Some(6), Some(6)]);
    }

    #[test]
    fn sweeping_keeps_what_can_be_read_at_the_revision_or_later() {
        let mut removed = Vec::new();
        let index = example();
        assert_eq!(index.sweep(None, 10, 4, &mut removed), None);
        assert_eq!(removed.len(), 2);
        assert_eq!(index.newest(b"a").unwrap().1, put(6, 6, 1));
        assert!(index.is_kept(b"a", Rev { main: 4, sub: 0 }, 4));
        index.sweep(None, 10, 5, &mut removed);
        assert_eq!(removed.len(), 3);
        index.sweep(None, 10, 9, &mut removed);
        assert_eq!(removed.len(), 3);
        assert_eq!(main_at(&index, 9), Some(6));
    }

    #[test]
    fn every_revision_reads_and_sweeps_as_a_plain_list_of_versions_would() {
        let versions = [put(2, 2, 1), put(3, 0, 0), put(5, 5, 1), put(6, 5, 2), put(8, 0, 0)];
        for length in 1..=versions.len() {
            let all = &versions[..length];
            for swept in 1..10 {
                let index = Index::default();
                all.iter().for_each(|version| index.add(&Bytes::from("a"), *version, None));
                let mut removed = Vec::new();
                index.sweep(None, 10, swept, &mut removed);
                // The newest at that revision stays, unless it is a deletion from before.
                let is_kept = |at: usize| {
                    let next = all.get(at + 1).map_or(i64::MAX, |next| next.rev.main);
                    let is_over = all[at].is_deleted() && all[at].rev.main < swept;
                    next > swept && !is_over
                };
                let gone: Vec<_> =
                    (0..length).filter(|at| !is_kept(*at)).map(|at| all[at]).collect();
                assert_eq!(removed, gone, "{length} versions swept at {swept}");
                for (at, version) in all.iter().enumerate() {
                    assert_eq!(index.is_kept(b"a", version.rev, 0), is_kept(at));
                }
                for revision in swept..10 {
                    let last = all.iter().rfind(|version| version.rev.main <= revision);
                    let wanted = last.filter(|version| !version.is_deleted());
                    assert_eq!(main_at(&index, revision), wanted.map(|wanted| wanted.rev.main));
                }
            }
        }
    }

    #[test]
    fn a_swept_deletion_takes_its_key_along_and_the_key_can_come_back() {
        let index = Index::default();
        let key = Bytes::from("a");
        index.add(&key, put(2, 2, 1), None);
        index.add(&key, put(3, 0, 0), None);
        index.sweep(None, 10, 5, &mut Vec::new());
        assert!(index.newest(b"a").is_none());
        index.add(&key, put(6, 6, 1), None);
        assert_eq!(main_at(&index, NOW), Some(6));
    }

    #[test]
    fn ranges_are_written_as_etcd_writes_them() {
        let single = KeyRange::new(b"b", b"");
        assert!(single.contains(b"b") && !single.contains(b"ba"));
        let all = KeyRange::new(b"\0", b"\0");
        assert!(all.contains(b"\xff\xff") && all.contains(b"\0"));
        let part = KeyRange::new(b"b", b"d");
        assert!(part.contains(b"c") && !part.contains(b"d"));
        let index = Index::default();
        for (at, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            index.add(&Bytes::from(key), put(at as i64 + 2, 2, 1), None);
        }
        let mut seen = Vec::new();
        index.visit(part, NOW, |key, _| {
            seen.push(key.clone());
            ControlFlow::Continue(())
        });
        assert_eq!(seen, ["b", "c"]);
        index.visit(KeyRange::new(b"d", b"b"), NOW, |_, _| panic!("nothing lies backwards"));
    }
}
