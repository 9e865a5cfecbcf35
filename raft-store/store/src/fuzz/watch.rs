//! What clients ask of a stream of watches.

use std::sync::{Arc, LazyLock};

use futures::FutureExt as _;
use fuzz::{Outcome, Target};
use prost::Message as _;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request::RequestUnion};
use tokio::runtime::{Builder, Runtime};

use crate::{
    WatchSpec, Watcher,
    state::{Cell, tests::Fixture},
    watch::Hub,
};

pub(super) const TARGET: Target = Target { name: "watch", seeds, decode, found: &[], rounds: 2000 };

static STORE: LazyLock<(Fixture, Arc<Hub>, Arc<Cell>)> = LazyLock::new(|| {
    let fixture = Fixture::new();
    let hub = Arc::new(Hub::new(fixture.state.revision(), 1 << 16));
    for value in ["1", "2", "3"] {
        hub.publish(fixture.put_batches("a", value));
    }
    let cell = Arc::new(Cell::shared(fixture.state.clone()));
    (fixture, hub, cell)
});

/// For what reads history.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

fn seeds() -> Vec<Vec<u8>> {
    let create = |start_revision| {
        let request = WatchCreateRequest {
            key: "a".into(),
            range_end: "b".into(),
            start_revision,
            prev_kv: true,
            filters: vec![0],
            ..WatchCreateRequest::default()
        };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) }
    };
    [0, 2, i64::MAX].map(|start| create(start).encode_to_vec()).to_vec()
}

fn decode(input: &[u8]) -> Outcome {
    let Ok(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }) =
        WatchRequest::decode(input)
    else {
        return Outcome::Refused;
    };
    let (_, hub, cell) = &*STORE;
    let start = create.start_revision;
    let spec = WatchSpec {
        key: create.key,
        range_end: create.range_end,
        start_revision: start,
        prev_kv: create.prev_kv,
        ..WatchSpec::default()
    };
    let mut watcher = Watcher::new(hub.clone(), cell.clone(), spec);
    RUNTIME.block_on(async { watcher.next().now_or_never() });
    // It is not further than the store, unless it waits for what comes.
    let progress = watcher.progress();
    assert!(progress.is_none_or(|at| at <= hub.published()) || start > hub.published());
    Outcome::Taken
}
