//! One stream of watches: creates and cancels them as the client says, and sends what they find,
//! in an order that keeps etcd's promises: `created` before any event, progress after all events
//! up to it.

use std::{collections::HashMap, pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_create_request::FilterType, watch_request::RequestUnion,
    },
    mvccpb::{Event, KeyValue, event::EventType},
};
use stdx::Shutdown;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};
use tonic::{Status, Streaming};

use crate::{AuthError, Error, Handle, WatchBatch, WatchEvent, WatchSpec, Watcher, watch::Tracker};

/// The id in answers that are about no watch, or about all.
const NO_WATCH: i64 = -1;
/// How often a stream that wants a leader looks for one.
const LEADER_LOOK: Duration = Duration::from_millis(200);

/// How often a stream that owes an answer about its progress looks whether it can give it.
const PROGRESS_LOOK: Duration = Duration::from_millis(10);

/// A watch of the stream.
struct Watch {
    tracker: Tracker,
    cancel: Shutdown,
    wants_progress: bool,
    fragment: bool,
    /// Whether something was sent since the last progress tick.
    is_fresh: bool,
}

/// A watch that has found something, or has ended.
struct Found {
    id: i64,
    watcher: Watcher,
    /// `None` when it was cancelled.
    batch: Option<Option<WatchBatch>>,
}

type Running = Pin<Box<dyn Future<Output = Found> + Send>>;

/// What happened to a stream.
enum Happened {
    Request(WatchRequest),
    HalfClosed,
    Left,
    Found(Found),
    ProgressTick,
    ProgressLook,
    LeaderLook,
    Stop,
}

/// The stream is over.
struct Over;

/// One stream of watches.
pub(super) struct Session {
    handle: Handle,
    out: mpsc::Sender<Result<WatchResponse, Status>>,
    wants_leader: bool,
    watches: HashMap<i64, Watch>,
    running: FuturesUnordered<Running>,
    next_id: i64,
    /// The client asked how far all watches are, and has no answer yet.
    owes_progress: bool,
    /// Looks in a row that found no leader.
    leaderless: u32,
}

impl Session {
    pub(super) fn new(
        handle: Handle,
        out: mpsc::Sender<Result<WatchResponse, Status>>,
        wants_leader: bool,
    ) -> Self {
        Self {
            handle,
            out,
            wants_leader,
            watches: HashMap::new(),
            running: FuturesUnordered::new(),
            next_id: 0,
            owes_progress: false,
            leaderless: 0,
        }
    }

    /// Serves the stream to its end.
    pub(super) async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        let stop = self.handle.inner.shutdown.clone();
        let mut progress = ticks(self.handle.inner.config.progress_interval);
        let mut leader = ticks(LEADER_LOOK);
        let mut is_half_closed = false;
        loop {
            let event = tokio::select! {
                () = stop.triggered() => Happened::Stop,
                () = self.out.closed() => Happened::Left,
                message = requests.message(), if !is_half_closed => match message {
                    Ok(Some(request)) => Happened::Request(request),
                    Ok(None) => Happened::HalfClosed,
                    Err(_) => Happened::Left,
                },
                Some(found) = self.running.next() => Happened::Found(found),
                _ = progress.tick() => Happened::ProgressTick,
                () = tokio::time::sleep(PROGRESS_LOOK), if self.owes_progress => {
                    Happened::ProgressLook
                }
                _ = leader.tick(), if self.wants_leader => Happened::LeaderLook,
            };
            let result = match event {
                Happened::Request(request) => self.request(request).await,
                // The client has nothing more to say, and still listens.
                Happened::HalfClosed => {
                    is_half_closed = true;
                    Ok(())
                }
                Happened::Left => Err(Over),
                Happened::Found(found) => self.found(found).await,
                Happened::ProgressTick => self.tell_progress().await,
                Happened::ProgressLook => Ok(()),
                Happened::LeaderLook => self.look_for_leader().await,
                Happened::Stop => self.end(Error::Stopped).await,
            };
            let result = match result {
                Ok(()) => self.pay_progress().await,
                over => over,
            };
            if result.is_err() {
                return;
            }
        }
    }

    async fn request(&mut self, request: WatchRequest) -> Result<(), Over> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => {
                self.owes_progress = !self.watches.is_empty();
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), Over> {
        let header = self.header(0);
        let new = match check(&self.handle.clone(), &request).await {
            Ok(()) => self.new_watch(request),
            Err(reason) => Err(reason),
        };
        let response = match new {
            Ok(id) => WatchResponse { header, watch_id: id, created: true, ..Default::default() },
            Err(reason) => WatchResponse {
                header,
                watch_id: NO_WATCH,
                created: true,
                canceled: true,
                cancel_reason: reason,
                ..WatchResponse::default()
            },
        };
        self.send(response).await
    }

    /// Begins a watch; its id, or why not.
    fn new_watch(&mut self, request: WatchCreateRequest) -> Result<i64, String> {
        let key = first_key(&request);
        let range_end = request.range_end.clone();
        if !range_end.is_empty() && range_end[..] != [0] && key >= range_end {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        let id = match request.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            id if self.watches.contains_key(&id) => {
                return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
            }
            id => id,
        };
        let watcher = self.handle.watch(WatchSpec {
            key,
            range_end,
            start_revision: request.start_revision,
            prev_kv: request.prev_kv,
            no_put: request.filters().any(|filter| filter == FilterType::Noput),
            no_delete: request.filters().any(|filter| filter == FilterType::Nodelete),
        });
        let watch = Watch {
            tracker: watcher.tracker(),
            cancel: Shutdown::new(),
            wants_progress: request.progress_notify,
            fragment: request.fragment,
            is_fresh: true,
        };
        self.running.push(Box::pin(step(id, watcher, watch.cancel.clone())));
        self.watches.insert(id, watch);
        Ok(id)
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Over> {
        let Some(watch) = self.watches.remove(&id) else { return Ok(()) };
        watch.cancel.trigger();
        let header = self.header(0);
        let response =
            WatchResponse { header, watch_id: id, canceled: true, ..WatchResponse::default() };
        self.send(response).await
    }

    async fn found(&mut self, found: Found) -> Result<(), Over> {
        let Found { id, watcher, batch } = found;
        let Some(batch) = batch else { return Ok(()) };
        let Some(watch) = self.watches.get_mut(&id) else { return Ok(()) };
        match batch {
            Some(WatchBatch::Events { revision, events }) => {
                watch.is_fresh = true;
                let (fragment, cancel) = (watch.fragment, watch.cancel.clone());
                self.send_events(id, revision, events, fragment).await?;
                self.running.push(Box::pin(step(id, watcher, cancel)));
                Ok(())
            }
            Some(WatchBatch::Compacted(revision)) => {
                self.watches.remove(&id);
                // As etcd has it: of no revision.
                let header = ResponseHeader { revision: 0, ..self.handle.header() };
                let response = WatchResponse {
                    header: Some(header),
                    watch_id: id,
                    canceled: true,
                    compact_revision: revision,
                    ..WatchResponse::default()
                };
                self.send(response).await
            }
            None => self.end(Error::Stopped).await,
        }
    }

    async fn send_events(
        &mut self,
        id: i64,
        revision: i64,
        events: Vec<WatchEvent>,
        fragment: bool,
    ) -> Result<(), Over> {
        let header = self.header(revision);
        let compacted = self.handle.inner.state().load().compacted();
        let events = events.into_iter().map(|event| wire(event, compacted)).collect();
        let whole = WatchResponse { header, watch_id: id, events, ..WatchResponse::default() };
        let limit = self.handle.inner.config.max_request_bytes;
        if !fragment || whole.events.len() < 2 || whole.encoded_len() < limit {
            return self.send(whole).await;
        }
        let WatchResponse { header, events, .. } = whole;
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let mut part = WatchResponse { header, watch_id: id, ..WatchResponse::default() };
            let mut bytes = 0;
            while let Some(event) = events
                .next_if(|event| part.events.is_empty() || bytes + event.encoded_len() < limit)
            {
                bytes += event.encoded_len();
                part.events.push(event);
            }
            part.fragment = events.peek().is_some();
            self.send(part).await?;
        }
        Ok(())
    }

    /// Tells idle watches that want it how far they are.
    async fn tell_progress(&mut self) -> Result<(), Over> {
        let mut due = Vec::new();
        for (id, watch) in &mut self.watches {
            let was_fresh = std::mem::take(&mut watch.is_fresh);
            if watch.wants_progress
                && !was_fresh
                && let Some(revision) = watch.tracker.progress()
            {
                due.push((*id, revision));
            }
        }
        for (watch_id, revision) in due {
            let header = self.header(revision);
            self.send(WatchResponse { header, watch_id, ..WatchResponse::default() }).await?;
        }
        Ok(())
    }

    /// Answers how far all watches are, as soon as none of them has anything waiting.
    async fn pay_progress(&mut self) -> Result<(), Over> {
        if !self.owes_progress || self.watches.is_empty() {
            return Ok(());
        }
        let mut least = i64::MAX;
        for watch in self.watches.values() {
            let Some(revision) = watch.tracker.progress() else { return Ok(()) };
            least = least.min(revision);
        }
        self.owes_progress = false;
        let header = self.header(least);
        self.send(WatchResponse { header, watch_id: NO_WATCH, ..WatchResponse::default() }).await
    }

    /// Ends the stream when there has been no leader for three election timeouts.
    async fn look_for_leader(&mut self) -> Result<(), Over> {
        if self.handle.inner.has_leader() {
            self.leaderless = 0;
            return Ok(());
        }
        self.leaderless += 1;
        let limit = self.handle.inner.config.election * 3;
        if LEADER_LOOK * self.leaderless < limit {
            return Ok(());
        }
        self.end(Error::NoLeader).await
    }

    async fn end(&mut self, error: Error) -> Result<(), Over> {
        if self.out.send(Err(error.into())).await.is_err() {
            tracing::trace!("the client has left first");
        }
        Err(Over)
    }

    async fn send(&mut self, response: WatchResponse) -> Result<(), Over> {
        self.out.send(Ok(response)).await.map_err(|_| Over)
    }

    fn header(&self, revision: i64) -> Option<ResponseHeader> {
        let mut header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        self.handle.inner.fill(&mut header);
        header
    }
}

/// Whether a watch may be; why not.
async fn check(handle: &Handle, request: &WatchCreateRequest) -> Result<(), String> {
    if request.start_revision < 0 {
        return Err(Error::Compacted.to_string());
    }
    let checked = handle.check_watch(&first_key(request), &request.range_end).await;
    match checked {
        Ok(()) => Ok(()),
        Err(Error::Auth(
            error @ (AuthError::InvalidToken | AuthError::OldRevision | AuthError::UserEmpty),
        )) => Err(go_text(error)),
        Err(_) => Err(go_text(AuthError::PermissionDenied)),
    }
}

/// The first key that a watch is for.
fn first_key(request: &WatchCreateRequest) -> Bytes {
    if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() }
}

/// An error as Go's gRPC prints it, which is how etcd tells why a watch may not be.
fn go_text(error: AuthError) -> String {
    format!("rpc error: code = {:?} desc = {error}", error.code())
}

/// Waits for a watch's next events.
async fn step(id: i64, mut watcher: Watcher, cancel: Shutdown) -> Found {
    let batch = cancel.guard(watcher.next()).await;
    Found { id, watcher, batch }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}

/// An event as it goes out. What was before a compaction is not told any more, even where it is
/// still known.
fn wire(event: WatchEvent, compacted: i64) -> Event {
    let kind = if event.deleted { EventType::Delete } else { EventType::Put };
    let kv = KeyValue::clone(&event.kv);
    let prev = event.prev.filter(|_| kv.mod_revision > compacted);
    let prev_kv = prev.map(|prev| KeyValue::clone(&prev));
    Event { r#type: kind.into(), kv: Some(kv), prev_kv }
}
