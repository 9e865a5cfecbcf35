//! A hash over everything that the log did to the state, kept up entry by entry, so that members
//! find out within a second when they are no copies of each other any more.
//!
//! It begins anew with the first entry of each term, from the revisions at that point, and says
//! of an entry what it changed, not what it asked for: two members that took the same entry
//! differently have different hashes from there on. What is on disk is not read again: for that
//! there is [`crate::hash`].

use std::{collections::VecDeque, io};

use super::{
    disk::{self, Batch, Disk},
    key_kind::{DIGEST, KeyKind},
};
use crate::watch::WatchEvent;

/// Positions whose hashes are remembered, for members that lag behind each other.
const PAST: usize = 4096;
/// Odd, with its bits well spread.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash at the newest position, and at those before.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    past: VecDeque<(u64, u64)>,
    /// The hash while a group of entries is applied; 0 is not known.
    now: u64,
}

impl Digest {
    /// What was written with the state.
    pub(crate) fn load(disk: &Disk) -> io::Result<Self> {
        let mut digest = Self::default();
        let Some(bytes) = disk.meta(DIGEST)? else { return Ok(digest) };
        let bad = || disk::invalid("an unreadable digest");
        let (index, hash) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
        let hash = u64::from_be_bytes(hash.try_into().map_err(|_| bad())?);
        digest.now = hash;
        digest.past.push_back((u64::from_be_bytes(*index), hash));
        Ok(digest)
    }

    /// The newest position and its hash.
    pub(crate) fn newest(&self) -> Option<(u64, u64)> {
        self.past.back().copied()
    }

    /// The hash at a position.
    pub(crate) fn at(&self, index: u64) -> Option<u64> {
        let place = self.past.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.past[place].1)
    }

    /// A term begins.
    pub(crate) fn begin(&mut self, term: u64, revision: i64, compacted: i64) {
        self.now = MIX;
        for number in [term, revision.cast_unsigned(), compacted.cast_unsigned()] {
            self.fold(number);
        }
    }

    /// An entry was taken, or refused, and the store is at a revision now.
    pub(crate) fn took(&mut self, is_done: bool, revision: i64) {
        self.fold(revision.cast_unsigned() << 1 | u64::from(is_done));
    }

    /// A key was changed on the way.
    pub(crate) fn changed(&mut self, event: &WatchEvent) {
        if self.now == 0 {
            return;
        }
        let kv = &event.kv;
        for bytes in [&kv.key, &kv.value] {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.fold(u64::from(crc32c::crc32c(bytes)) ^ length << 32);
        }
        for number in [kv.create_revision, kv.mod_revision, kv.version, kv.lease] {
            self.fold(number.cast_unsigned());
        }
        self.fold(u64::from(event.deleted));
    }

    /// The entry at a position is over.
    pub(crate) fn end(&mut self, index: u64) {
        if self.now == 0 {
            return;
        }
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back((index, self.now));
    }

    /// Writes the newest along with the state.
    pub(crate) fn save(&self, batch: &mut Batch) {
        if let Some((index, hash)) = self.newest() {
            let bytes = [index.to_be_bytes(), hash.to_be_bytes()].concat();
            batch.put(KeyKind::Meta, DIGEST.as_bytes(), &bytes);
        }
    }

    fn fold(&mut self, number: u64) {
        if self.now != 0 {
            let mixed = (self.now ^ number).wrapping_mul(MIX);
            self.now = (mixed ^ mixed >> 29).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proto::mvccpb::KeyValue;

    use super::*;

    fn event(value: &'static str) -> WatchEvent {
        let kv = KeyValue { key: "k".into(), value: value.into(), ..KeyValue::default() };
        WatchEvent { kv: Arc::new(kv), prev: None, deleted: false }
    }

    fn digest(values: &[&'static str]) -> Digest {
        let mut digest = Digest::default();
        digest.begin(2, 1, -1);
        digest.end(4);
        for (at, value) in (5..).zip(values) {
            digest.changed(&event(value));
            digest.took(true, at);
            digest.end(at.cast_unsigned());
        }
        digest
    }

    #[test]
    fn states_that_differed_once_differ_from_then_on() {
        let (one, other) = (digest(&["a", "b", "c"]), digest(&["a", "x", "c"]));
        let same: Vec<_> = (4..=8).map(|at| one.at(at) == other.at(at)).collect();
        assert_eq!(same, [true, true, false, false, true]);
        assert_eq!(one.at(8), None);
        assert_eq!(one.newest().unwrap().0, 7);
    }

    #[test]
    fn nothing_is_known_before_the_first_term_began() {
        let mut digest = Digest::default();
        digest.took(true, 9);
        digest.end(7);
        assert_eq!(digest.newest(), None);
    }
}
