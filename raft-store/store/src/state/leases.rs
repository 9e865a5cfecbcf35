//! Leases and the keys that hang on them. When a lease runs out is not known here: that is a
//! matter of clocks, and the leader's (see [`crate::lease`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use bytes::Bytes;

use super::{
    disk::{self, Batch, Disk},
    key_kind::KeyKind,
};

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Seconds that it was granted.
    pub(crate) ttl: i64,
    /// Seconds that it still had at the last checkpoint; 0 is all of them.
    pub(crate) remaining: i64,
    /// Its keys.
    pub(crate) keys: BTreeSet<Bytes>,
}

/// All leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    all: BTreeMap<i64, Lease>,
}

impl Leases {
    /// Reads the leases, without their keys.
    pub(crate) fn load(disk: &Disk) -> io::Result<Self> {
        let mut all = BTreeMap::new();
        for (key, value) in disk.all(KeyKind::Lease)? {
            let bad = || disk::invalid("an unreadable lease");
            let id = i64::from_be_bytes(key[..].try_into().map_err(|_| bad())?);
            let (ttl, remaining) = value.split_first_chunk::<8>().ok_or_else(bad)?;
            let remaining = remaining.try_into().map_err(|_| bad())?;
            let (ttl, remaining) = (i64::from_be_bytes(*ttl), i64::from_be_bytes(remaining));
            all.insert(id, Lease { ttl, remaining, keys: BTreeSet::new() });
        }
        Ok(Self { all })
    }

    /// A lease.
    pub(crate) fn get(&self, id: i64) -> Option<&Lease> {
        self.all.get(&id)
    }

    /// All ids.
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.all.keys().copied().collect()
    }

    /// All leases.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.all.iter().map(|(id, lease)| (*id, lease))
    }

    /// Whether there is such a lease.
    pub(crate) fn contains(&self, id: i64) -> bool {
        self.all.contains_key(&id)
    }

    /// Adds a lease to a batch.
    pub(crate) fn put(batch: &mut Batch, id: i64, ttl: i64, remaining: i64) {
        batch.put(KeyKind::Lease, &id.to_be_bytes(), &value(ttl, remaining));
    }

    /// Begins a lease.
    pub(crate) fn grant(&mut self, batch: &mut Batch, id: i64, ttl: i64) {
        Self::put(batch, id, ttl, 0);
        self.all.insert(id, Lease { ttl, remaining: 0, keys: BTreeSet::new() });
    }

    /// Notes what a lease still has.
    pub(crate) fn checkpoint(&mut self, batch: &mut Batch, id: i64, remaining: i64) {
        if let Some(lease) = self.all.get_mut(&id) {
            lease.remaining = remaining;
            Self::put(batch, id, lease.ttl, remaining);
        }
    }

    /// Ends a lease; its keys are the caller's to delete.
    pub(crate) fn remove(&mut self, batch: &mut Batch, id: i64) -> Option<Lease> {
        batch.delete(KeyKind::Lease, &id.to_be_bytes());
        self.all.remove(&id)
    }

    /// Hangs a key on a lease.
    pub(crate) fn attach(&mut self, id: i64, key: Bytes) {
        if let Some(lease) = self.all.get_mut(&id) {
            lease.keys.insert(key);
        }
    }

    /// Takes a key off a lease.
    pub(crate) fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.all.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}

fn value(ttl: i64, remaining: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&ttl.to_be_bytes());
    bytes[8..].copy_from_slice(&remaining.to_be_bytes());
    bytes
}
