//! The replicated state: what all members have in common at the same log position.
//!
//! Written by the applier alone, through a [`Writer`](write::Writer); read by anybody, without
//! waiting for it: versions are never changed, so a read at a published revision sees the same
//! for ever, or finds that it has been compacted.

pub(crate) mod alarms;
pub(crate) mod compare;
pub(crate) mod digest;
pub(crate) mod disk;
mod held;
pub(crate) mod index;
pub(crate) mod key_kind;
pub(crate) mod leases;
pub(crate) mod read;
pub(crate) mod sweep;
pub(crate) mod txn;
pub(crate) mod values;
pub(crate) mod view;
pub(crate) mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use consensus::Reserve;
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use proto::{
    etcdserverpb::{ResponseOp, TxnResponse, response_op::Response},
    membershippb::Attributes,
};

use crate::{auth::Auth, hash::Kept};
use alarms::Alarms;
use digest::Digest;
use disk::Disk;
use index::{Index, Version};
pub(crate) use index::{KeyRange, NOW, Rev};
use key_kind::{COMPACTED, KeyKind, REVISION, SWEPT};
use leases::Leases;
use values::Values;

/// What is counted for metrics, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Ranges read.
    pub(crate) ranges: AtomicU64,
    /// Transactions of more than one operation.
    pub(crate) txns: AtomicU64,
    /// Versions that compactions have removed.
    pub(crate) swept: AtomicU64,
}

impl Counts {
    /// Takes note of a transaction's answer.
    pub(crate) fn txn(&self, response: &TxnResponse) {
        if operations(response) > 1 {
            self.txns.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Operations that a transaction has done, those of nested ones among them.
fn operations(response: &TxnResponse) -> usize {
    let count = |operation: &ResponseOp| match &operation.response {
        Some(Response::ResponseTxn(nested)) => operations(nested),
        _ => 1,
    };
    response.responses.iter().map(count).sum()
}

/// The state at one moment, and its past back to the compacted revision.
pub(crate) struct State {
    pub(crate) disk: Disk,
    pub(crate) index: Index,
    /// The newest revision that readers see.
    revision: AtomicI64,
    /// Below it, only newest versions are kept; -1 before the first compaction.
    compacted: AtomicI64,
    /// Up to where that is also true of the disk.
    swept: AtomicI64,
    /// Leases and their keys.
    pub(crate) leases: RwLock<Leases>,
    /// Alarms that are up.
    pub(crate) alarms: RwLock<Alarms>,
    /// Users and roles.
    pub(crate) auth: RwLock<Auth>,
    /// What members said of themselves.
    pub(crate) members: RwLock<BTreeMap<u64, Attributes>>,
    /// A hash over everything that led here.
    pub(crate) digest: Mutex<Digest>,
    /// Which newest values are in memory.
    pub(crate) values: Mutex<Values>,
    /// What is counted for metrics.
    pub(crate) counts: Counts,
    /// Hashes of what compactions have removed since the start.
    pub(crate) hashes: Kept,
}

impl State {
    /// Opens the state below a directory, or an empty one.
    pub(crate) fn open(root: &Path, cache_bytes: usize, reserve: &Reserve) -> io::Result<Self> {
        Self::load(Disk::open(root, reserve)?, cache_bytes)
    }

    /// Reads what is kept in memory.
    pub(crate) fn load(disk: Disk, cache_bytes: usize) -> io::Result<Self> {
        let revision = disk.number(REVISION)?.unwrap_or(1);
        let compacted = disk.number(COMPACTED)?.unwrap_or(-1);
        let swept = disk.number(SWEPT)?.unwrap_or(-1);
        let index = Index::default();
        disk.visit(0, |rev, deleted, _, value| {
            let kv = disk::decode(bytes::Bytes::copy_from_slice(value))?;
            // The mark of a raised revision has no version; it is no deletion all the same.
            let alive = || (kv.create_revision, kv.version.max(1));
            let (create, version) = if deleted { (0, 0) } else { alive() };
            index.load(&kv.key, Version { rev, create, version, lease: kv.lease });
            Ok(true)
        })?;
        let mut leases = Leases::load(&disk)?;
        index.visit_newest(|key, version| {
            if version.lease != 0 && !version.is_deleted() {
                leases.attach(version.lease, key.clone());
            }
        });
        let alarms = Alarms::load(&disk)?;
        let auth = Auth::load(&disk)?;
        let members = members(&disk)?;
        let digest = Mutex::new(Digest::load(&disk)?);
        Ok(Self {
            disk,
            index,
            digest,
            revision: AtomicI64::new(revision),
            compacted: AtomicI64::new(compacted),
            swept: AtomicI64::new(swept),
            leases: RwLock::new(leases),
            alarms: RwLock::new(alarms),
            auth: RwLock::new(auth),
            members: RwLock::new(members),
            values: Mutex::new(Values::new(cache_bytes)),
            counts: Counts::default(),
            hashes: Kept::default(),
        })
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Makes this state differ from all others.
    #[cfg(test)]
    pub(crate) fn skip_a_revision(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    /// The compacted revision; -1 before the first compaction.
    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// Up to where the disk has been compacted too.
    pub(crate) fn swept(&self) -> i64 {
        self.swept.load(Ordering::Acquire)
    }
}

/// What members said of themselves, by their ids.
pub(crate) fn members(disk: &Disk) -> io::Result<BTreeMap<u64, Attributes>> {
    let mut members = BTreeMap::new();
    for (key, value) in disk.all(KeyKind::Member)? {
        let Ok(id) = <[u8; 8]>::try_from(&key[..]) else {
            return Err(disk::invalid("a member's name under an unreadable key"));
        };
        let attributes = Attributes::decode(&value[..]).map_err(io::Error::other)?;
        members.insert(u64::from_be_bytes(id), attributes);
    }
    Ok(members)
}

/// The state in use; a snapshot from the leader replaces it as a whole.
pub(crate) struct Cell {
    state: ArcSwap<State>,
}

impl Cell {
    pub(crate) fn new(state: State) -> Self {
        Self { state: ArcSwap::from_pointee(state) }
    }

    /// Around a state that others hold too.
    #[cfg(test)]
    pub(crate) fn shared(state: Arc<State>) -> Self {
        Self { state: ArcSwap::from(state) }
    }

    /// The state in use.
    pub(crate) fn load(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Puts another in its place.
    pub(crate) fn replace(&self, state: State) {
        self.state.store(Arc::new(state));
    }
}
