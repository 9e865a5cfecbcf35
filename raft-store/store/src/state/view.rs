//! The state as one read sees it: at one revision, or, inside a transaction, as it is so far.

use std::{
    io,
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use proto::{
    etcdserverpb::{
        RangeRequest, RangeResponse,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb::KeyValue,
};

use super::{
    KeyRange, State,
    index::{Found, NOW},
};
use crate::watch::EventBatch;

/// Where a read looks.
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    /// The revision; [`NOW`] is as it is so far.
    pub(crate) at: i64,
    /// Changes that are not on disk yet.
    pub(crate) unwritten: &'a [Arc<EventBatch>],
}

/// One key that a read has found.
struct Item {
    key: Bytes,
    found: Found,
}

impl View<'_> {
    /// The value of a version.
    pub(crate) fn value(&self, found: &Found) -> io::Result<Arc<KeyValue>> {
        if let Some(kv) = &found.kv {
            return Ok(kv.clone());
        }
        let rev = found.version.rev;
        let place = self.unwritten.binary_search_by_key(&rev.main, |batch| batch.revision);
        if let Ok(place) = place {
            let event = self.unwritten[place].events.get(rev.sub as usize);
            let event = event.ok_or_else(|| gone(rev.main))?;
            return Ok(event.kv.clone());
        }
        let kv = self.state.disk.version(rev)?.ok_or_else(|| gone(rev.main))?;
        Ok(Arc::new(kv))
    }

    /// One key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Found> {
        self.state.index.get(key, self.at)
    }

    /// Answers a range request; the header is the caller's.
    pub(crate) fn range(&self, request: &RangeRequest) -> io::Result<RangeResponse> {
        self.state.counts.ranges.fetch_add(1, Ordering::Relaxed);
        let range = KeyRange::new(&request.key, &request.range_end);
        let order = Order::of(request);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let wanted = match limit {
            _ if request.count_only => 0,
            0 => usize::MAX,
            // One more, to know whether there is more; all of them when order or choice depend
            // on all. Without an order, only the first are sorted, as etcd does.
            limit if is_default_order(request) && !filters(request) => limit.saturating_add(1),
            _ => usize::MAX,
        };
        let mut count = 0;
        let mut items = Vec::new();
        self.state.index.visit(range, self.at, |key, found| {
            count += 1;
            if items.len() < wanted {
                items.push(Item { key: key.clone(), found });
            }
            ControlFlow::Continue(())
        });
        items.retain(|item| passes(request, item));
        self.sort(&mut items, order)?;
        let more = limit > 0 && items.len() > limit;
        if more {
            items.truncate(limit);
        }
        let mut kvs = Vec::with_capacity(items.len());
        for item in items {
            kvs.push(if request.keys_only {
                bare(item)
            } else {
                KeyValue::clone(&*self.value(&item.found)?)
            });
        }
        Ok(RangeResponse { header: None, kvs, more, count })
    }

    fn sort(&self, items: &mut [Item], order: Order) -> io::Result<()> {
        let Order::By(target, descending) = order else { return Ok(()) };
        match target {
            SortTarget::Key => items.sort_by(|a, b| a.key.cmp(&b.key)),
            SortTarget::Version => items.sort_by_key(|item| item.found.version.version),
            SortTarget::Create => items.sort_by_key(|item| item.found.version.create),
            SortTarget::Mod => items.sort_by_key(|item| item.found.version.rev.main),
            SortTarget::Value => {
                for item in items.iter_mut() {
                    item.found.kv = Some(self.value(&item.found)?);
                }
                let value = |item: &Item| item.found.kv.as_ref().map(|kv| kv.value.clone());
                items.sort_by_key(value);
            }
        }
        if descending {
            items.reverse();
        }
        Ok(())
    }
}

/// The order of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As keys lie.
    Keys,
    /// By something else, and whether downwards.
    By(SortTarget, bool),
}

impl Order {
    fn of(request: &RangeRequest) -> Self {
        match (request.sort_target(), request.sort_order()) {
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => Self::Keys,
            (target, order) => Self::By(target, order == SortOrder::Descend),
        }
    }
}

/// Whether a request wants keys as they lie.
pub(crate) fn is_default_order(request: &RangeRequest) -> bool {
    match request.sort_order() {
        SortOrder::None => true,
        SortOrder::Ascend => request.sort_target() == SortTarget::Key,
        SortOrder::Descend => false,
    }
}

/// Whether a request leaves out keys by their revisions.
pub(crate) fn filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, item: &Item) -> bool {
    let (modified, created) = (item.found.version.rev.main, item.found.version.create);
    let is_in = |value: i64, least: i64, most: i64| {
        (least == 0 || value >= least) && (most == 0 || value <= most)
    };
    is_in(modified, request.min_mod_revision, request.max_mod_revision)
        && is_in(created, request.min_create_revision, request.max_create_revision)
}

/// A key without its value.
fn bare(item: Item) -> KeyValue {
    KeyValue {
        key: item.key,
        create_revision: item.found.version.create,
        mod_revision: item.found.version.rev.main,
        version: item.found.version.version,
        value: Bytes::new(),
        lease: 0,
    }
}

fn gone(revision: i64) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("revision {revision} is not there"))
}

/// The state as it is now, with nothing unwritten.
pub(crate) fn newest(state: &State) -> View<'_> {
    View { state, at: NOW, unwritten: &[] }
}
