//! Watches: changes as they happen, from any revision that the store still knows, in any form.
//!
//! There is no cache in between: the store's own ring of events serves every watch, so a watch resumes at any
//! replica at the same revision. What watchers share is the encoded event ([`shared`]).

mod encode;
pub mod shared;

use api::status::Status;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use self::encode::{Encoder, Kind};
use self::shared::SharedEvents;
use super::list_options::{self, ListOptions};
use super::pick::{self, Pick};
use super::{Answer, Call, Payload, get};
use crate::storage::{self, Batch, Event, Item, Range, Watch, keys};

/// How often a quiet watch hears how far the store has come.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// Initial objects read from the store at once.
const CHUNK: usize = 200;
/// Bytes after which a frame is handed on.
const FRAME: usize = 32 * 1024;

/// Opens a watch.
pub async fn watch(call: &Call) -> Result<Answer, Status> {
    let options = ListOptions::parse(&call.info, true)?;
    let pick = Pick::new(&call.kind, &options)?;
    let wanted =
        list_options::revision(&options.revision).map_err(|text| Status::new(500, "", &text))?;
    let initial = options.initial_events == Some(true);
    let session = open(call, &options, pick, wanted, initial).await?;
    let frames = stream::unfold(session, |mut session| async move {
        let frame = session.next().await?;
        Some((Ok(Frame::data(frame)), session))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    Ok(Answer { code: 200, payload: Payload::Stream(body) })
}

/// Where a watch begins and what it begins with.
async fn open(
    call: &Call,
    options: &ListOptions,
    pick: Pick,
    wanted: i64,
    initial: bool,
) -> Result<Session, Status> {
    let storage = call.server.storage.clone();
    let prefix = keys::prefix(&call.kind.folder, Some(call.namespace()));
    let (start, end) = bounds(call, &pick, &prefix);
    let mut first = None;
    let mut since = wanted;
    if initial || wanted == 0 {
        match wanted {
            0 if options.revision.is_empty() => since = storage.barrier().await?,
            0 => since = storage.revision(),
            _ => {
                if let Err(status) = get::wait_for(call, wanted).await {
                    return Ok(Session::failed(call, options, pick, storage, status));
                }
                since = storage.revision();
            }
        }
        first = initial.then(|| start.clone());
    }
    let watch = match storage.watch(start, end.clone(), since + 1).await {
        Ok(watch) => watch,
        Err(storage::Error::Compacted) => {
            return Ok(Session::failed(call, options, pick, storage, expired(since)));
        }
        Err(error) => return Err(error.into()),
    };
    let mut session = Session::new(call, options, pick, storage, Some(watch));
    session.initial = first.map(|start| Initial { start, end, revision: since });
    session.announce = initial && options.bookmarks;
    session.seen = since;
    session.told = since;
    Ok(session)
}

/// The keys to watch: all, or the one that the selector names.
fn bounds(call: &Call, pick: &Pick, prefix: &Bytes) -> (Bytes, Bytes) {
    let one = !call.kind.resource.namespaced || !call.namespace().is_empty();
    match pick.only_name().filter(|_| one) {
        Some(name) => {
            let key = call.key(call.namespace(), name);
            let mut end = key.to_vec();
            end.push(0);
            (key, end.into())
        }
        None => (prefix.clone(), keys::prefix_end(prefix)),
    }
}

/// 410 for history that is gone.
fn expired(since: i64) -> Status {
    Status::new(410, "Expired", &format!("too old resource version: {since}"))
}

/// Objects that are there already, still to be sent.
struct Initial {
    start: Bytes,
    end: Bytes,
    revision: i64,
}

/// One open watch.
struct Session {
    storage: storage::Shared,
    watch: Option<Box<dyn Watch>>,
    kind: Arc<crate::kind::Kind>,
    pick: Pick,
    shared: Arc<SharedEvents>,
    encoder: Encoder,
    initial: Option<Initial>,
    /// The end of the initial objects is still to be announced.
    announce: bool,
    bookmarks: bool,
    /// Every change up to here was looked at.
    seen: i64,
    /// The last revision that the client heard of.
    told: i64,
    pending: VecDeque<Event>,
    bookmark_at: Instant,
    ends_at: Instant,
    shutdown: stdx::Shutdown,
    failure: Option<Status>,
    over: bool,
}

impl Session {
    fn new(
        call: &Call,
        options: &ListOptions,
        pick: Pick,
        storage: storage::Shared,
        watch: Option<Box<dyn Watch>>,
    ) -> Self {
        let random = || 1800 + rand::rng().random_range(0..1800);
        let seconds = options.timeout_seconds.filter(|s| *s > 0).unwrap_or_else(random);
        let now = Instant::now();
        let shared = Arc::clone(&call.server.shared_events);
        Self {
            storage,
            watch,
            kind: call.kind.clone(),
            pick,
            shared: Arc::clone(&shared),
            encoder: Encoder::new(call.kind.clone(), call.form, &call.info, shared),
            initial: None,
            announce: false,
            bookmarks: options.bookmarks,
            seen: 0,
            told: 0,
            pending: VecDeque::new(),
            bookmark_at: now + BOOKMARKS,
            ends_at: now + Duration::from_secs(seconds),
            shutdown: call.server.shutdown.clone(),
            failure: None,
            over: false,
        }
    }

    fn failed(
        call: &Call,
        options: &ListOptions,
        pick: Pick,
        storage: storage::Shared,
        status: Status,
    ) -> Self {
        let mut session = Self::new(call, options, pick, storage, None);
        session.failure = Some(status);
        session
    }

    /// The next bytes for the client; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            if let Some(status) = self.failure.take() {
                self.over = true;
                return Some(self.encoder.error(&status));
            }
            if let Some(frame) = self.initial().await {
                return Some(frame);
            }
            if self.failure.is_some() {
                continue;
            }
            if std::mem::take(&mut self.announce) {
                self.told = self.seen;
                return Some(self.encoder.bookmark(self.seen, true));
            }
            if let Some(frame) = self.drain() {
                return Some(frame);
            }
            if let Some(frame) = self.wait().await {
                return Some(frame);
            }
        }
    }

    /// A frame of objects that were there at the beginning.
    async fn initial(&mut self) -> Option<Bytes> {
        loop {
            let initial = self.initial.as_ref()?;
            let range = Range {
                start: initial.start.clone(),
                end: initial.end.clone(),
                limit: CHUNK,
                revision: initial.revision,
                count_only: false,
            };
            let since = initial.revision;
            let page = match self.storage.range(range).await {
                Ok(page) => page,
                Err(storage::Error::Compacted) => {
                    self.failure = Some(expired(since));
                    self.initial = None;
                    return None;
                }
                Err(error) => {
                    self.failure = Some(error.into());
                    self.initial = None;
                    return None;
                }
            };
            let last = page.items.last().map(|item| item.key.clone());
            let frame = self.frame_of(page.items);
            match last {
                Some(last) if page.more => {
                    let mut start = last.to_vec();
                    start.push(0);
                    if let Some(initial) = &mut self.initial {
                        initial.start = start.into();
                    }
                }
                _ => self.initial = None,
            }
            if !frame.is_empty() {
                return Some(frame);
            }
        }
    }

    fn frame_of(&self, items: Vec<Item>) -> Bytes {
        let mut frame = BytesMut::new();
        for item in items.iter().filter(|item| self.pick.wants(&item.value)) {
            frame.extend_from_slice(&self.encoder.event(Kind::Added, &item.value, item.revision));
        }
        frame.freeze()
    }

    /// A frame of changes that have arrived.
    fn drain(&mut self) -> Option<Bytes> {
        let mut single = None;
        let mut frame = BytesMut::new();
        while let Some(event) = self.pending.pop_front() {
            let Some((kind, value)) = self.classify(&event) else { continue };
            self.told = event.revision;
            let bytes = self.encoder.shared(kind, &event, &value);
            match single.take() {
                None if frame.is_empty() => single = Some(bytes),
                None => frame.extend_from_slice(&bytes),
                Some(first) => {
                    frame.extend_from_slice(&first);
                    frame.extend_from_slice(&bytes);
                }
            }
            if frame.len() >= FRAME {
                break;
            }
        }
        single.or_else(|| (!frame.is_empty()).then(|| frame.freeze()))
    }

    /// What a change is to this watch: it may come into its sight, or go out of it.
    fn classify(&self, event: &Event) -> Option<(Kind, Bytes)> {
        let wants = |value: &Bytes, revision: i64| {
            if self.pick.is_deep() {
                let visible = |object| pick::visible(&self.kind, object);
                let tree = self.shared.tree((&event.key, revision), value, visible);
                return tree.is_some_and(|tree| self.pick.wants_object(&tree));
            }
            self.pick.wants(value)
        };
        let before = event.previous.as_ref().map(|(value, _)| value);
        let was = event.previous.as_ref().is_some_and(|(value, revision)| wants(value, *revision));
        match (&event.value, before) {
            (Some(value), _) if wants(value, event.revision) => {
                let kind = if was { Kind::Modified } else { Kind::Added };
                Some((kind, value.clone()))
            }
            // Out of sight: the object as the watcher last saw it.
            (_, Some(before)) if was => Some((Kind::Deleted, before.clone())),
            _ => None,
        }
    }

    /// Waits for changes, for the time of a bookmark, or for the end.
    async fn wait(&mut self) -> Option<Bytes> {
        let Some(watch) = &mut self.watch else {
            self.over = true;
            return None;
        };
        tokio::select! {
            biased;
            batch = watch.next() => match batch {
                Some(Batch::Events { revision, events }) => {
                    self.seen = self.seen.max(revision);
                    self.pending.extend(events);
                    None
                }
                Some(Batch::Compacted) => {
                    self.failure = Some(expired(self.seen));
                    None
                }
                None => {
                    self.over = true;
                    None
                }
            },
            () = tokio::time::sleep_until(self.bookmark_at) => {
                self.bookmark_at = Instant::now() + BOOKMARKS;
                self.mark()
            }
            () = tokio::time::sleep_until(self.ends_at) => {
                self.over = true;
                self.mark()
            }
            () = self.shutdown.triggered() => {
                self.over = true;
                None
            }
        }
    }

    /// A bookmark, if the client wants them and the store has moved on.
    fn mark(&mut self) -> Option<Bytes> {
        if let Some(reached) = self.watch.as_ref().and_then(|watch| watch.progress()) {
            self.seen = self.seen.max(reached);
        }
        if !self.bookmarks || self.seen <= self.told {
            return None;
        }
        self.told = self.seen;
        Some(self.encoder.bookmark(self.seen, false))
    }
}
