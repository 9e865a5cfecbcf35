//! A store in memory, for tests and for trying things: every version kept, nothing durable, leases that never
//! end by themselves.

use super::{Batch, Compare, Error, Event, Got, Item, Outcome, Page, Range, Storage, Txn, Watch};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// The store.
pub struct Memory {
    state: Arc<Mutex<State>>,
    revision: watch::Sender<i64>,
    leading: watch::Sender<bool>,
    /// Keys by the lease that ends them.
    leased: Mutex<BTreeMap<i64, BTreeSet<Bytes>>>,
}

#[derive(Default)]
struct State {
    /// Every version of every key: (revision, value or deleted).
    keys: BTreeMap<Bytes, Vec<(i64, Option<Bytes>)>>,
    log: Vec<Event>,
    revision: i64,
    compacted: i64,
}

impl State {
    fn at(&self, key: &Bytes, revision: i64) -> Option<Item> {
        let versions = self.keys.get(key)?;
        let (at, value) = versions.iter().rev().find(|(at, _)| *at <= revision)?;
        let value = value.clone()?;
        Some(Item { key: key.clone(), value, revision: *at, lease: 0 })
    }
}

impl Memory {
    /// An empty store.
    pub fn new() -> Arc<Self> {
        let state = State { revision: 1, ..State::default() };
        Arc::new(Self {
            state: Arc::new(Mutex::new(state)),
            revision: watch::channel(1).0,
            leading: watch::channel(true).0,
            leased: Mutex::default(),
        })
    }

    /// Forgets what can't be read any more.
    pub fn compact(&self, revision: i64) {
        self.state.lock().compacted = revision;
    }
}

#[async_trait]
impl Storage for Memory {
    async fn barrier(&self) -> Result<i64, Error> {
        Ok(self.revision())
    }

    fn revision(&self) -> i64 {
        self.state.lock().revision
    }

    async fn get(&self, key: &Bytes) -> Result<Got, Error> {
        let state = self.state.lock();
        Ok(Got { item: state.at(key, state.revision), revision: state.revision })
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let state = self.state.lock();
        let revision = if range.revision == 0 { state.revision } else { range.revision };
        if revision > state.revision {
            return Err(Error::Future);
        }
        if revision < state.compacted {
            return Err(Error::Compacted);
        }
        let all: Vec<Item> = state
            .keys
            .range(range.start..range.end)
            .filter_map(|(key, _)| state.at(key, revision))
            .collect();
        let count = all.len();
        let limit = if range.limit == 0 { count } else { range.limit };
        let items = if range.count_only { Vec::new() } else { all };
        let items: Vec<Item> = items.into_iter().take(limit).collect();
        let more = !range.count_only && count > items.len();
        let revision = if range.revision == 0 { revision } else { state.revision };
        Ok(Page { items, revision, more, count })
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome, Error> {
        let mut state = self.state.lock();
        let current: Vec<Option<Item>> =
            txn.compares.iter().map(|compare| state.at(compare.key(), state.revision)).collect();
        let holds = txn.compares.iter().zip(&current).all(|(compare, item)| match compare {
            Compare::Revision(_, wanted) => item.as_ref().map_or(0, |i| i.revision) == *wanted,
            Compare::Value(_, wanted) => item.as_ref().is_some_and(|i| i.value == *wanted),
        });
        if !holds {
            return Ok(Outcome::Failed(current));
        }
        let deletes: Vec<Bytes> =
            txn.deletes.into_iter().filter(|k| state.at(k, i64::MAX).is_some()).collect();
        if txn.puts.is_empty() && deletes.is_empty() {
            return Ok(Outcome::Committed(state.revision));
        }
        state.revision += 1;
        let revision = state.revision;
        for (key, _, lease) in txn.puts.iter().filter(|(_, _, lease)| *lease != 0) {
            self.leased.lock().entry(*lease).or_default().insert(key.clone());
        }
        let changes = txn.puts.into_iter().map(|(key, value, _)| (key, Some(value)));
        for (key, value) in changes.chain(deletes.into_iter().map(|key| (key, None))) {
            let previous = state.at(&key, i64::MAX).map(|item| (item.value, item.revision));
            state.keys.entry(key.clone()).or_default().push((revision, value.clone()));
            state.log.push(Event { key, revision, value, previous });
        }
        drop(state);
        self.revision.send_replace(revision);
        Ok(Outcome::Committed(revision))
    }

    async fn watch(&self, start: Bytes, end: Bytes, from: i64) -> Result<Box<dyn Watch>, Error> {
        let state = self.state.clone();
        let seen = self.revision.subscribe();
        Ok(Box::new(Cursor { state, seen, start, end, next: from, first: true }))
    }

    async fn lease(&self, _seconds: i64) -> Result<i64, Error> {
        let mut leased = self.leased.lock();
        let id = 1 + i64::try_from(leased.len()).unwrap_or(i64::MAX - 1);
        leased.insert(id, BTreeSet::new());
        Ok(id)
    }

    async fn lease_keep_alive(&self, _id: i64) -> Result<(), Error> {
        Ok(())
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), Error> {
        let held = self.leased.lock().remove(&id).unwrap_or_default();
        let txn = Txn { deletes: held.into_iter().collect(), ..Txn::default() };
        self.txn(txn).await.map(|_| ())
    }

    fn leading(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    fn member(&self) -> u64 {
        1
    }
}

struct Cursor {
    state: Arc<Mutex<State>>,
    seen: watch::Receiver<i64>,
    start: Bytes,
    end: Bytes,
    next: i64,
    first: bool,
}

#[async_trait]
impl Watch for Cursor {
    async fn next(&mut self) -> Option<Batch> {
        if !std::mem::take(&mut self.first) {
            self.seen.changed().await.ok()?;
        }
        self.seen.mark_unchanged();
        let state = self.state.lock();
        if self.next != 0 && self.next <= state.compacted {
            return Some(Batch::Compacted);
        }
        let events = state
            .log
            .iter()
            .filter(|e| e.revision >= self.next && e.key >= self.start && e.key < self.end)
            .cloned()
            .collect();
        self.next = state.revision + 1;
        Some(Batch::Events { revision: state.revision, events })
    }
}
