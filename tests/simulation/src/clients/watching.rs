//! Clients that follow keys from the first revision on, at one member after the other.

use std::time::Duration;

use bytes::Bytes;
use store::{WatchBatch, WatchEvent, WatchSpec};
use tokio::time::sleep;

use super::{Client, Door};
use crate::evidence::{Batch, Event, Recorder, Segment, Watch};

/// The longest time at one member.
const STAY: Duration = Duration::from_millis(2500);

/// Watches until told to stop.
pub(super) async fn work(mut client: Client, prefix: &'static str) {
    let place = client.recorder.with(|evidence| {
        evidence.watches.push(Watch { prefix: prefix.to_owned(), segments: Vec::new() });
        evidence.watches.len() - 1
    });
    let mut start = 1;
    while !client.stop.is_triggered() {
        let Some(door) = client.doors.get(client.member) else {
            sleep(Duration::from_millis(10)).await;
            client.turn();
            continue;
        };
        let segment = Segment { member: client.member, start, ..Segment::default() };
        client.recorder.with(|evidence| evidence.watches[place].segments.push(segment));
        let Door { runtime, store } = door;
        let spec = spec(prefix, start);
        let following = runtime.spawn(follow(store, spec, client.recorder.clone(), place));
        let abort = following.abort_handle();
        let stay = tokio::time::timeout(STAY, following);
        if client.stop.guard(stay).await.is_none_or(|ended| ended.is_err()) {
            abort.abort();
        }
        start = client.recorder.with(|evidence| {
            let segment = evidence.watches[place].segments.last();
            segment.map_or(start, |segment| match segment.compacted {
                Some(compacted) => compacted,
                None => segment.batches.last().map_or(segment.start, |batch| batch.upto + 1),
            })
        });
        client.turn();
    }
}

fn spec(prefix: &str, start_revision: i64) -> WatchSpec {
    let (key, range_end) = match prefix {
        "" => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        "k" => (Bytes::from_static(b"k"), Bytes::from_static(b"l")),
        other => panic!("no range for {other}"),
    };
    WatchSpec { key, range_end, start_revision, ..WatchSpec::default() }
}

/// Runs in the member's process, and ends with it or with what it watches.
async fn follow(store: store::Handle, spec: WatchSpec, recorder: Recorder, place: usize) {
    let mut watcher = store.watch(spec);
    drop(store);
    while let Some(batch) = watcher.next().await {
        recorder.with(|evidence| {
            let now = evidence.now;
            let Some(segment) = evidence.watches[place].segments.last_mut() else { return };
            match batch {
                WatchBatch::Compacted(revision) => segment.compacted = Some(revision),
                WatchBatch::Events { revision, events } => {
                    let events: Vec<Event> = events.iter().map(event).collect();
                    for gone in events.iter().filter(|event| event.value.is_none()) {
                        let lease = evidence.leases.iter_mut().find(|one| one.key == gone.key);
                        if let Some(lease) = lease {
                            lease.gone = Some(lease.gone.map_or(now, |before| before.min(now)));
                        }
                    }
                    segment.batches.push(Batch { upto: revision, events });
                }
            }
        });
    }
}

fn event(event: &WatchEvent) -> Event {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Event {
        revision: event.kv.mod_revision,
        key: text(&event.kv.key),
        value: (!event.deleted).then(|| text(&event.kv.value)),
    }
}
