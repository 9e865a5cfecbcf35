//! Changes of the state: collected over a group of log entries, visible to each other at once,
//! to readers all together when the group is written.

use std::{
    io, mem,
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use prost::Message as _;
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, ResponseHeader,
    },
    mvccpb::KeyValue,
};

use super::{
    KeyRange, NOW, Rev, State, disk,
    disk::Batch,
    index::{Found, Version},
    key_kind::{APPLIED, COMPACTED, KeyKind, REVISION},
    read::header,
    view::View,
};
use crate::{
    Error,
    watch::{EventBatch, WatchEvent},
};

/// Why a change did not happen.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The same on every member: the entry has no effect.
    Refused(Error),
    /// This member's disk: it must not go on.
    Disk(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// The applier's hand on the state.
pub(crate) struct Writer<'a> {
    pub(crate) state: &'a State,
    pub(crate) batch: Batch,
    /// The newest finished revision.
    revision: i64,
    compacted: i64,
    compacted_before: Option<i64>,
    /// Changes of the revision under way.
    events: Vec<WatchEvent>,
    /// Finished revisions that are not written yet.
    finished: Vec<Arc<EventBatch>>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(state: &'a State) -> Self {
        Self {
            state,
            batch: state.disk.batch(),
            revision: state.revision(),
            compacted: state.compacted(),
            compacted_before: None,
            events: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// The newest revision, without the one under way.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// The compacted revision.
    pub(crate) fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Where the last compaction of this group began; `None` without one.
    pub(crate) fn compacted_before(&self) -> Option<i64> {
        self.compacted_before
    }

    /// Revisions finished in this group.
    pub(crate) fn finished(&self) -> &[Arc<EventBatch>] {
        &self.finished
    }

    /// The revision that a read in the middle of a transaction reports.
    pub(crate) fn current(&self) -> i64 {
        self.revision + i64::from(!self.events.is_empty())
    }

    /// The state as it is so far.
    pub(crate) fn view(&self) -> View<'_> {
        self.view_at(NOW)
    }

    /// The state at a revision. Changes of the transaction under way are seen at [`NOW`] only.
    pub(crate) fn view_at(&self, at: i64) -> View<'_> {
        View { state: self.state, at, unwritten: &self.finished }
    }

    /// The value of what was found so far.
    fn value(&self, found: &Found) -> io::Result<Arc<KeyValue>> {
        self.view().value(found)
    }

    /// Refuses a put that cannot be done, before anything of its transaction is.
    pub(crate) fn check_put(&self, request: &PutRequest) -> Result<(), Error> {
        if request.lease != 0 && !self.state.leases.read().contains(request.lease) {
            return Err(Error::LeaseNotFound);
        }
        let keeps = request.ignore_value || request.ignore_lease;
        if keeps && self.view().get(&request.key).is_none() {
            return Err(Error::KeyNotFound);
        }
        Ok(())
    }

    /// Writes one key.
    pub(crate) fn put(&mut self, request: PutRequest) -> Result<PutResponse, Failure> {
        self.check_put(&request)?;
        let newest = self.state.index.newest(&request.key);
        let found = self.view().get(&request.key);
        let old = found.as_ref().map(|found| self.value(found)).transpose()?;
        let lease = match &old {
            Some(old) if request.ignore_lease => old.lease,
            _ => request.lease,
        };
        let value = match &old {
            Some(old) if request.ignore_value => old.value.clone(),
            _ => request.value,
        };
        let rev = self.next();
        let kv = KeyValue {
            key: newest.map_or_else(|| Bytes::copy_from_slice(&request.key), |(key, _)| key),
            create_revision: old.as_ref().map_or(rev.main, |old| old.create_revision),
            mod_revision: rev.main,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            value,
            lease,
        };
        let version =
            Version { rev, create: kv.create_revision, version: kv.version, lease: kv.lease };
        let encoded = kv.encode_to_vec();
        self.state.disk.put_version(&mut self.batch, rev, false, &encoded);
        // Of its own bytes, not of those of a whole log message.
        let stored = disk::decode(encoded.into())?;
        let kv = Arc::new(KeyValue { key: kv.key, ..stored });
        self.state.index.add(&kv.key, version, Some(kv.clone()));
        self.move_lease(&kv.key, old.as_ref().map_or(0, |old| old.lease), lease);
        let prev_kv = old.as_ref().filter(|_| request.prev_kv).map(|old| KeyValue::clone(old));
        self.events.push(WatchEvent { kv, prev: old, deleted: false });
        Ok(PutResponse { header: Some(header(rev.main)), prev_kv })
    }

    /// Deletes the keys of a range.
    pub(crate) fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Failure> {
        let range = KeyRange::new(&request.key, &request.range_end);
        let mut keys = Vec::new();
        self.state.index.visit(range, NOW, |key, _| {
            keys.push(key.clone());
            ControlFlow::Continue(())
        });
        let mut response = DeleteRangeResponse::default();
        for key in keys {
            let Some(old) = self.delete(key)? else { continue };
            response.deleted += 1;
            if request.prev_kv {
                response.prev_kvs.push(KeyValue::clone(&old));
            }
        }
        response.header = Some(header(self.current()));
        Ok(response)
    }

    /// Deletes one key; what it was.
    pub(crate) fn delete(&mut self, key: Bytes) -> Result<Option<Arc<KeyValue>>, Failure> {
        let Some(found) = self.view().get(&key) else { return Ok(None) };
        let old = self.value(&found)?;
        let rev = self.next();
        let tombstone = KeyValue { key: key.clone(), ..KeyValue::default() };
        let encoded = tombstone.encode_to_vec();
        self.state.disk.put_version(&mut self.batch, rev, true, &encoded);
        self.state.index.add(&key, Version { rev, create: 0, version: 0, lease: 0 }, None);
        self.move_lease(&key, old.lease, 0);
        let kv = Arc::new(KeyValue { mod_revision: rev.main, ..tombstone });
        self.events.push(WatchEvent { kv, prev: Some(old.clone()), deleted: true });
        Ok(Some(old))
    }

    fn move_lease(&self, key: &Bytes, from: i64, to: i64) {
        if from == to {
            return;
        }
        let mut leases = self.state.leases.write();
        if from != 0 {
            leases.detach(from, key);
        }
        if to != 0 {
            leases.attach(to, key.clone());
        }
    }

    fn next(&self) -> Rev {
        let sub = u32::try_from(self.events.len()).expect("a transaction has fewer changes");
        Rev { main: self.revision + 1, sub }
    }

    /// Forgets the past below a revision: at once for readers, on disk later.
    pub(crate) fn compact(&mut self, revision: i64) -> Result<ResponseHeader, Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRevision);
        }
        self.compacted_before = Some(self.compacted);
        self.compacted = revision;
        self.batch.put_number(COMPACTED, revision);
        Ok(header(self.revision))
    }

    /// Ends a revision, if anything changed.
    pub(crate) fn finish(&mut self) {
        if self.events.is_empty() {
            return;
        }
        self.revision += 1;
        let events = mem::take(&mut self.events);
        self.finished.push(Arc::new(EventBatch::new(self.revision, events)));
    }

    /// Writes the group with consensus' note, shows it to readers, and hands out its events.
    pub(crate) fn commit(mut self, applied: &[u8]) -> io::Result<Vec<Arc<EventBatch>>> {
        self.batch.put(KeyKind::Meta, APPLIED.as_bytes(), applied);
        if !self.finished.is_empty() {
            self.batch.put_number(REVISION, self.revision);
        }
        self.state.disk.write(self.batch)?;
        self.state.revision.store(self.revision, Ordering::Release);
        self.state.compacted.store(self.compacted, Ordering::Release);
        let mut values = self.state.values.lock();
        for event in self.finished.iter().flat_map(|batch| &batch.events) {
            if !event.deleted {
                values.kept(event.kv.key.clone(), event.kv.mod_revision, event.bytes());
            }
        }
        values.trim(&self.state.index);
        Ok(self.finished)
    }
}
