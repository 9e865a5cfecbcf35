//! The state as one read sees it: at one revision, or, inside a transaction, as it is so far.

use std::{
    cmp, io,
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
use crate::{
    room::{PER_KEY, Room},
    watch::EventBatch,
};

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

/// What a read has found so far.
struct Gathered {
    /// Keys that are of use.
    wanted: usize,
    /// Whether the others are counted.
    counts: bool,
    count: i64,
    items: Vec<Item>,
    /// Why no more of them can be had.
    failed: io::Result<()>,
}

/// Keys that are visited where the request came in; more of them would keep other tasks waiting.
const AT_ONCE: i64 = 1000;
/// Versions asked of the disk together.
const TOGETHER: usize = 512;

impl View<'_> {
    /// The value of a version.
    pub(crate) fn value(&self, found: &Found) -> io::Result<Arc<KeyValue>> {
        if let Some(kv) = self.value_in_memory(found)? {
            return Ok(kv);
        }
        let rev = found.version.rev;
        let kv = self.state.disk.version(rev)?.ok_or_else(|| gone(rev.main))?;
        Ok(Arc::new(kv))
    }

    /// The same, unless the disk alone has it.
    fn value_in_memory(&self, found: &Found) -> io::Result<Option<Arc<KeyValue>>> {
        if let Some(kv) = &found.kv {
            return Ok(Some(kv.clone()));
        }
        let rev = found.version.rev;
        let place = self.unwritten.binary_search_by_key(&rev.main, |batch| batch.revision);
        let Ok(place) = place else { return Ok(None) };
        let event = self.unwritten[place].events.get(rev.sub as usize);
        Ok(Some(event.ok_or_else(|| gone(rev.main))?.kv.clone()))
    }

    /// One key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Found> {
        self.state.index.get(key, self.at)
    }

    /// Answers a range request; the header is the caller's.
    pub(crate) fn range(&self, request: &RangeRequest) -> io::Result<RangeResponse> {
        self.page(request, true, &mut Room::endless())
    }

    /// The same, in the room for it; unless all keys are to be counted, the answer's count is that of the keys up to
    /// the limit or one more.
    pub(crate) fn page(
        &self,
        request: &RangeRequest,
        counts: bool,
        room: &mut Room,
    ) -> io::Result<RangeResponse> {
        self.state.counts.ranges.fetch_add(1, Ordering::Relaxed);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let wanted = match limit {
            _ if request.count_only => 0,
            0 => usize::MAX,
            // One more, to know whether there is more; all of them when order or choice depend
            // on all. Without an order, only the first are sorted, as etcd does.
            limit if is_default_order(request) && !filters(request) => limit.saturating_add(1),
            _ => usize::MAX,
        };
        let mut gathered = Gathered { wanted, counts, count: 0, items: Vec::new(), failed: Ok(()) };
        match self.gather(&mut gathered, &request.key, &request.range_end, AT_ONCE, room) {
            None => self.answer(request, gathered, room),
            Some(next) => stdx::task::in_place(|| {
                self.gather(&mut gathered, &next, &request.range_end, i64::MAX, room);
                self.answer(request, gathered, room)
            }),
        }
    }

    /// Gathers what is there at the revision between two keys; where to go on after as many keys as were allowed.
    fn gather(
        &self,
        to: &mut Gathered,
        key: &[u8],
        end: &[u8],
        most: i64,
        room: &mut Room,
    ) -> Option<Vec<u8>> {
        let mut next = None;
        self.state.index.visit(KeyRange::new(key, end), self.at, |key, found| {
            to.count += 1;
            if to.items.len() < to.wanted {
                to.failed = room.take(key.len() + PER_KEY);
                if to.failed.is_err() {
                    return ControlFlow::Break(());
                }
                to.items.push(Item { key: key.clone(), found: found.into() });
            }
            if !to.counts && to.items.len() >= to.wanted {
                return ControlFlow::Break(());
            }
            if to.count < most || end.is_empty() {
                return ControlFlow::Continue(());
            }
            next = Some([key, &[0][..]].concat());
            ControlFlow::Break(())
        });
        next
    }

    fn answer(
        &self,
        request: &RangeRequest,
        gathered: Gathered,
        room: &mut Room,
    ) -> io::Result<RangeResponse> {
        let Gathered { mut items, count, failed, .. } = gathered;
        failed?;
        items.retain(|item| passes(request, item));
        let order = Order::of(request);
        if let Order::By(SortTarget::Value, descends) = order {
            let mut kvs = self.values(&items, room)?;
            kvs.sort_by(|a, b| directed(a.value.cmp(&b.value), descends));
            let more = cut(&mut kvs, request.limit);
            if request.keys_only {
                kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
            }
            return Ok(RangeResponse { header: None, kvs, more, count });
        }
        sort(&mut items, order);
        let more = cut(&mut items, request.limit);
        let kvs = match request.keys_only {
            true => items.into_iter().map(bare).collect(),
            false => self.values(&items, room)?,
        };
        Ok(RangeResponse { header: None, kvs, more, count })
    }

    /// The values of many keys. What only the disk has is asked for by the hundred, in the order in which it lies there.
    fn values(&self, items: &[Item], room: &mut Room) -> io::Result<Vec<KeyValue>> {
        let mut kvs = vec![KeyValue::default(); items.len()];
        let mut on_disk = Vec::new();
        for (at, item) in items.iter().enumerate() {
            match self.value_in_memory(&item.found)? {
                Some(kv) => {
                    room.take(kv.value.len())?;
                    kvs[at] = KeyValue::clone(&*kv);
                }
                None => on_disk.push((item.found.version.rev, at)),
            }
        }
        on_disk.sort_unstable();
        for some in on_disk.chunks(TOGETHER) {
            let revs: Vec<_> = some.iter().map(|(rev, _)| *rev).collect();
            for ((rev, at), kv) in some.iter().zip(self.state.disk.versions(&revs)?) {
                let kv = kv.ok_or_else(|| gone(rev.main))?;
                room.take(kv.value.len())?;
                kvs[*at] = kv;
            }
        }
        Ok(kvs)
    }
}

/// Puts what is found in order. What compares equal stays in the order of keys, downwards too.
fn sort(items: &mut [Item], order: Order) {
    let Order::By(target, descends) = order else { return };
    items.sort_by(|a, b| {
        let (one, other) = (&a.found.version, &b.found.version);
        let upwards = match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => one.version.cmp(&other.version),
            SortTarget::Create => one.create.cmp(&other.create),
            SortTarget::Mod => one.rev.main.cmp(&other.rev.main),
            // These are put in order when their values are read.
            SortTarget::Value => cmp::Ordering::Equal,
        };
        directed(upwards, descends)
    });
}

fn directed(upwards: cmp::Ordering, descends: bool) -> cmp::Ordering {
    if descends { upwards.reverse() } else { upwards }
}

/// Cuts an answer at its limit, and says whether there was more.
fn cut<T>(found: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(0);
    let more = limit > 0 && found.len() > limit;
    if more {
        found.truncate(limit);
    }
    more
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
