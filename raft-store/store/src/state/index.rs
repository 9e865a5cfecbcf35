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
use crossbeam_skiplist::SkipMap;
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

/// The versions of one key, oldest first.
#[derive(Default)]
struct Chain {
    versions: Vec<Version>,
    /// The newest version's value, where it is in memory.
    newest: Option<Arc<KeyValue>>,
    /// Taken out of the map: nothing may be added any more.
    is_gone: bool,
}

impl Chain {
    fn at(&self, revision: i64) -> Option<Found> {
        let count = self.versions.partition_point(|version| version.rev.main <= revision);
        let version = *self.versions[..count].last()?;
        if version.is_deleted() {
            return None;
        }
        let is_newest = count == self.versions.len();
        Some(Found { version, kv: self.newest.clone().filter(|_| is_newest) })
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

/// All keys and their versions.
#[derive(Default)]
pub(crate) struct Index {
    keys: SkipMap<Bytes, Mutex<Chain>>,
    /// Keys that exist now.
    alive: AtomicUsize,
}

/// The newest revision, whatever it is.
pub(crate) const NOW: i64 = i64::MAX;

impl Index {
    /// The version of a key at a revision, unless it is a deletion.
    pub(crate) fn get(&self, key: &[u8], revision: i64) -> Option<Found> {
        self.keys.get(key)?.value().lock().at(revision)
    }

    /// The newest version of a key, even a deletion, and the key's shared bytes.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<(Bytes, Version)> {
        let entry = self.keys.get(key)?;
        let version = *entry.value().lock().versions.last()?;
        Some((entry.key().clone(), version))
    }

    /// Visits the keys of a range, in order, that exist at a revision.
    pub(crate) fn visit(
        &self,
        range: KeyRange<'_>,
        revision: i64,
        mut visit: impl FnMut(&Bytes, Found) -> ControlFlow<()>,
    ) {
        if range.is_single() {
            if let Some(entry) = self.keys.get(range.key) {
                let found = entry.value().lock().at(revision);
                if let Some(found) = found
                    && visit(entry.key(), found).is_break()
                {
                    tracing::trace!("a visit to one key ends anyway");
                }
            }
            return;
        }
        if range.is_empty() {
            return;
        }
        for entry in self.keys.range::<[u8], _>(range.bounds()) {
            let found = entry.value().lock().at(revision);
            if let Some(found) = found
                && visit(entry.key(), found).is_break()
            {
                return;
            }
        }
    }

    /// Adds a version, newer than all of its key, with its value if that shall stay in memory.
    pub(crate) fn add(&self, key: &Bytes, version: Version, kv: Option<Arc<KeyValue>>) {
        loop {
            let entry = self.keys.get_or_insert_with(key.clone(), Mutex::default);
            {
                let mut chain = entry.value().lock();
                if !chain.is_gone {
                    self.push(&mut chain, version);
                    chain.newest = kv;
                    return;
                }
            }
            entry.remove();
        }
    }

    /// Adds a version from disk; a key's versions come oldest first.
    pub(crate) fn load(&self, key: &[u8], version: Version) {
        let entry = match self.keys.get(key) {
            Some(entry) => entry,
            None => self.keys.get_or_insert_with(Bytes::copy_from_slice(key), Mutex::default),
        };
        self.push(&mut entry.value().lock(), version);
    }

    fn push(&self, chain: &mut Chain, version: Version) {
        let was_alive = chain.versions.last().is_some_and(|last| !last.is_deleted());
        match (was_alive, !version.is_deleted()) {
            (false, true) => self.alive.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.alive.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        chain.versions.push(version);
    }

    /// How many keys exist now.
    pub(crate) fn keys(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// Lets go of a value, if it is still its key's newest and of this revision.
    pub(crate) fn forget_value(&self, key: &[u8], revision: i64) {
        if let Some(entry) = self.keys.get(key) {
            let mut chain = entry.value().lock();
            if chain.versions.last().is_some_and(|version| version.rev.main == revision) {
                chain.newest = None;
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
        for entry in self.keys.range::<[u8], _>((from, Bound::Unbounded)) {
            let is_gone = {
                let mut chain = entry.value().lock();
                let kept = first_kept(&chain.versions, revision);
                removed.extend(chain.versions.drain(..kept));
                if chain.versions.len() * 4 < chain.versions.capacity() {
                    chain.versions.shrink_to_fit();
                }
                chain.is_gone = chain.versions.is_empty();
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
        let Some(entry) = self.keys.get(key) else { return false };
        let chain = entry.value().lock();
        let kept = first_kept(&chain.versions, compacted);
        chain.versions[kept..].iter().any(|version| version.rev == rev)
    }

    /// Visits every key's newest version.
    pub(crate) fn visit_newest(&self, mut visit: impl FnMut(&Bytes, Version)) {
        for entry in &self.keys {
            let newest = entry.value().lock().versions.last().copied();
            if let Some(version) = newest {
                visit(entry.key(), version);
            }
        }
    }
}

/// Place of the first version that can still be read at `revision` or later: the newest at that
/// revision, unless it is a deletion from before.
fn first_kept(versions: &[Version], revision: i64) -> usize {
    let count = versions.partition_point(|version| version.rev.main <= revision);
    match versions[..count].last() {
        None => 0,
        Some(last) if last.is_deleted() && last.rev.main < revision => count,
        Some(_) => count - 1,
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
