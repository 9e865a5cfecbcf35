//! What watchers see, against a state without consensus.

use std::sync::Arc;

use futures::FutureExt;

use super::{Hub, WatchBatch, WatchSpec, Watcher};
use crate::state::{Cell, State, tests::Fixture};

/// A state and its hub, published by hand.
struct Bench {
    store: Fixture,
    cell: Arc<Cell>,
    hub: Arc<Hub>,
}

impl Bench {
    fn new(ring: usize) -> Self {
        let store = Fixture::new();
        let state: Arc<State> = store.state.clone();
        let hub = Arc::new(Hub::new(state.revision(), ring));
        Self { store, cell: Arc::new(Cell::shared(state)), hub }
    }

    fn put(&self, key: &'static str, value: &'static str) {
        let batches = self.store.put_batches(key, value);
        self.hub.publish(batches);
    }

    fn delete(&self, key: &'static str) {
        let batches = self.store.delete_batches(key);
        self.hub.publish(batches);
    }

    fn watch(&self, key: &'static str, end: &'static str, start_revision: i64) -> Watcher {
        let spec = WatchSpec {
            key: key.into(),
            range_end: end.into(),
            start_revision,
            prev_kv: true,
            ..WatchSpec::default()
        };
        Watcher::new(self.hub.clone(), self.cell.clone(), spec)
    }
}

/// Keys and revisions of the next answer.
async fn next(watcher: &mut Watcher) -> Vec<(String, i64)> {
    match watcher.next().await {
        Some(WatchBatch::Events { events, .. }) => events
            .iter()
            .map(|event| {
                let key = String::from_utf8(event.kv.key.to_vec()).unwrap();
                (key, event.kv.mod_revision)
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn seen(events: &[(&str, i64)]) -> Vec<(String, i64)> {
    events.iter().map(|(key, revision)| ((*key).to_owned(), *revision)).collect()
}

#[tokio::test]
async fn a_watcher_gets_its_range_from_now_on_with_what_was_before() {
    let bench = Bench::new(1 << 20);
    bench.put("p/a", "old");
    let mut watcher = bench.watch("p/", "p0", 0);
    assert!(watcher.next().now_or_never().is_none());
    assert_eq!(watcher.progress(), Some(2));
    bench.put("q/a", "elsewhere");
    assert!(watcher.next().now_or_never().is_none());
    assert_eq!(watcher.progress(), Some(3));
    bench.put("p/a", "new");
    assert_eq!(watcher.progress(), None);
    let Some(WatchBatch::Events { revision, events }) = watcher.next().await else { panic!() };
    assert_eq!((revision, events.len()), (4, 1));
    assert_eq!(events[0].prev.as_ref().unwrap().value, "old");
    bench.delete("p/a");
    let Some(WatchBatch::Events { events, .. }) = watcher.next().await else { panic!() };
    assert!(events[0].deleted);
    assert_eq!(events[0].prev.as_ref().unwrap().value, "new");
}

#[tokio::test]
async fn a_watcher_of_the_past_reads_memory_or_disk_and_misses_nothing() {
    // One ring that holds everything, one that holds next to nothing.
    for ring in [1 << 20, 1] {
        let bench = Bench::new(ring);
        bench.put("a", "1");
        bench.put("b", "1");
        bench.put("a", "2");
        let mut watcher = bench.watch("a", "", 2);
        let mut found = next(&mut watcher).await;
        if found.len() < 2 {
            found.extend(next(&mut watcher).await);
        }
        assert_eq!(found, seen(&[("a", 2), ("a", 4)]));
        assert!(watcher.next().now_or_never().is_none());
        bench.put("a", "3");
        assert_eq!(next(&mut watcher).await, seen(&[("a", 5)]));
    }
}

#[tokio::test]
async fn a_slow_watcher_falls_back_to_history_and_returns() {
    let bench = Bench::new(300);
    let mut watcher = bench.watch("\0", "\0", 0);
    for _ in 0..50 {
        bench.put("a", "1");
    }
    let mut found = Vec::new();
    while found.len() < 50 {
        found.extend(next(&mut watcher).await);
    }
    let revisions: Vec<i64> = found.iter().map(|(_, revision)| *revision).collect();
    assert_eq!(revisions, (2..52).collect::<Vec<_>>());
    assert!(watcher.next().now_or_never().is_none());
    assert_eq!(watcher.progress(), Some(51));
}

#[tokio::test]
async fn a_watcher_of_compacted_history_is_told_so() {
    let bench = Bench::new(1 << 20);
    bench.put("a", "1");
    bench.put("a", "2");
    bench.put("a", "3");
    bench.store.compact(3).unwrap();
    let mut watcher = bench.watch("a", "", 2);
    assert!(matches!(watcher.next().await, Some(WatchBatch::Compacted(3))));
    assert!(watcher.next().await.is_none());
    let mut watcher = bench.watch("a", "", 3);
    assert_eq!(next(&mut watcher).await, seen(&[("a", 3), ("a", 4)]));
}

#[tokio::test]
async fn what_was_compacted_before_a_watch_began_is_not_told_as_what_was_before() {
    let bench = Bench::new(1 << 20);
    // One that keeps the events, and what was before them, in memory.
    let _other = bench.watch("a", "", 2);
    bench.put("a", "1");
    bench.put("a", "2");
    bench.store.compact(3).unwrap();
    bench.put("a", "3");
    let mut watcher = bench.watch("a", "", 3);
    let Some(WatchBatch::Events { events, .. }) = watcher.next().await else { panic!() };
    let before: Vec<_> = events.iter().map(|event| event.prev.is_some()).collect();
    assert_eq!(before, [false, true]);
}

#[tokio::test]
async fn a_watcher_of_the_future_sees_nothing_older() {
    let bench = Bench::new(1 << 20);
    let mut watcher = bench.watch("a", "", 4);
    assert_eq!(watcher.progress(), None);
    bench.put("a", "2");
    bench.put("a", "3");
    assert!(watcher.next().now_or_never().is_none());
    bench.put("a", "4");
    assert_eq!(next(&mut watcher).await, seen(&[("a", 4)]));
}

#[tokio::test]
async fn groups_go_with_their_last_watcher() {
    let bench = Bench::new(1 << 20);
    let (one, two) = (bench.watch("p/", "p0", 0), bench.watch("p/", "p0", 0));
    let other = bench.watch("x", "", 0);
    assert_eq!(bench.hub.groups(), 2);
    drop(one);
    assert_eq!(bench.hub.groups(), 2);
    drop((two, other));
    assert_eq!(bench.hub.groups(), 0);
}

#[tokio::test]
async fn filters_leave_out_what_they_name() {
    let bench = Bench::new(1 << 20);
    let spec = WatchSpec { key: "a".into(), no_put: true, ..WatchSpec::default() };
    let mut watcher = Watcher::new(bench.hub.clone(), bench.cell.clone(), spec);
    bench.put("a", "1");
    bench.delete("a");
    let Some(WatchBatch::Events { events, .. }) = watcher.next().await else { panic!() };
    assert!(events.len() == 1 && events[0].deleted && events[0].prev.is_none());
}

#[tokio::test]
async fn a_closed_hub_ends_its_watchers() {
    let bench = Bench::new(1 << 20);
    let mut watcher = bench.watch("a", "", 0);
    let waiting = async {
        assert!(watcher.next().await.is_none());
    };
    let closing = async { bench.hub.close() };
    tokio::join!(waiting, closing);
}
