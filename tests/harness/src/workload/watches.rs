//! Watchers of everything: each goes on behind the last revision that it knows whenever its member
//! is silent or gone, and writes down what it was told, and when.

use anyhow::{Context, Result};
use parking_lot::Mutex;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use proto::mvccpb::Event;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{Change, History, PAUSE, Recorder};
use crate::store::MEMBERS;

/// Silence after which a watcher asks how far it is.
const SILENCE: Duration = Duration::from_millis(400);
/// Questions without any answer after which it turns to the next member.
const QUESTIONS: u32 = 3;
/// Requests on their way.
const REQUESTS: usize = 4;

/// What one watcher was told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) history: History,
    /// Revisions of what keys held before, by revision and key; nothing: told that there was none.
    pub(super) before: BTreeMap<(i64, String), Option<i64>>,
    /// When a revision came.
    pub(super) at: BTreeMap<i64, u64>,
    /// Everything up to here has been told.
    pub(super) position: i64,
    /// Revisions that were compacted before they came.
    pub(super) gaps: Vec<(i64, i64)>,
    /// Times that it went on at another member.
    pub(super) resumed: usize,
    pub(super) wrong: Vec<String>,
}

/// A watcher at work.
pub(super) struct Watching {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Begins at the first revision, at one member.
    pub(super) fn start(at: usize, channels: Vec<Channel>, recorder: Recorder) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let task = tokio::spawn(watch(at, channels, seen.clone(), recorder));
        Self { seen, task }
    }

    /// Everything up to this revision was told.
    pub(super) fn position(&self) -> i64 {
        self.seen.lock().position
    }

    /// What was told, up to a revision: requests that nobody waits for any more may still be done.
    pub(super) fn end(self, last: i64) -> Seen {
        self.task.abort();
        let mut seen = std::mem::take(&mut *self.seen.lock());
        seen.history.retain(|revision, _| *revision <= last);
        seen
    }
}

async fn watch(at: usize, channels: Vec<Channel>, seen: Arc<Mutex<Seen>>, recorder: Recorder) {
    for member in at.. {
        let position = seen.lock().position;
        let channel = channels[member % MEMBERS].clone();
        let opened = timeout(SILENCE * QUESTIONS, open(channel, position + 1)).await;
        if let Ok(Ok((requests, stream))) = opened {
            follow(requests, stream, &seen, &recorder).await;
        }
        seen.lock().resumed += 1;
        sleep(PAUSE).await;
    }
}

type Opened = (mpsc::Sender<WatchRequest>, Streaming<WatchResponse>);

async fn open(channel: Channel, start_revision: i64) -> Result<Opened> {
    let create = WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision,
        prev_kv: true,
        ..WatchCreateRequest::default()
    };
    let (requests, queue) = mpsc::channel(REQUESTS);
    requests
        .send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
        .await?;
    let stream = WatchClient::new(channel).watch(ReceiverStream::new(queue)).await?;
    Ok((requests, stream.into_inner()))
}

/// Takes what a member says until it ends, is silent for too long or has compacted.
async fn follow(
    requests: mpsc::Sender<WatchRequest>,
    mut stream: Streaming<WatchResponse>,
    seen: &Mutex<Seen>,
    recorder: &Recorder,
) {
    let mut silent = 0;
    loop {
        match timeout(SILENCE, stream.message()).await {
            Ok(Ok(Some(message))) => {
                silent = 0;
                if !seen.lock().take(message, recorder.now()) {
                    return;
                }
            }
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => {
                silent += 1;
                let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                let request = WatchRequest { request_union: Some(progress) };
                if silent > QUESTIONS || requests.try_send(request).is_err() {
                    return;
                }
            }
        }
    }
}

impl Seen {
    /// Takes a message; whether more of this watch may follow.
    fn take(&mut self, message: WatchResponse, now: u64) -> bool {
        if message.canceled {
            let next = self.position + 1;
            if message.compact_revision > 0 {
                if message.compact_revision <= next {
                    let at = message.compact_revision;
                    self.wrong.push(format!("cancelled at {next}, though compacted only at {at}"));
                }
                self.gaps.push((next, message.compact_revision - 1));
                self.position = self.position.max(message.compact_revision - 1);
            }
            return false;
        }
        let revision = message.header.map_or(0, |header| header.revision);
        if message.events.is_empty() {
            // How far it is; the answer to the creation says nothing of that.
            if !message.created {
                self.position = self.position.max(revision);
            }
            return true;
        }
        let before = self.position;
        for event in message.events {
            self.take_event(event, before, now);
        }
        true
    }

    fn take_event(&mut self, event: Event, before: i64, now: u64) {
        let previous = event.prev_kv.as_ref().map(|previous| previous.mod_revision);
        let Some((revision, change)) = change(event) else {
            self.wrong.push("an event without a key".to_owned());
            return;
        };
        // Also the rest of a revision whose beginning came in an earlier message.
        if revision <= before || revision < self.position {
            let known = self.position;
            self.wrong.push(format!("{change:?} of {revision} came behind {known}"));
        }
        self.position = self.position.max(revision);
        self.before.insert((revision, change.key.clone()), previous);
        self.at.entry(revision).or_insert(now);
        self.history.entry(revision).or_default().push(change);
    }
}

fn change(event: Event) -> Option<(i64, Change)> {
    let kv = event.kv?;
    let value = (event.r#type == 0).then(|| String::from_utf8_lossy(&kv.value).into_owned());
    let change = Change {
        key: String::from_utf8_lossy(&kv.key).into_owned(),
        value,
        lease: kv.lease,
        create: kv.create_revision,
        version: kv.version,
    };
    Some((kv.mod_revision, change))
}

/// All changes that a member remembers from one revision to another, told in one go.
pub(super) async fn history(channel: Channel, first: i64, last: i64) -> Result<History> {
    let (requests, mut stream) = open(channel, first.max(1)).await?;
    let mut all = History::new();
    while all.last_key_value().is_none_or(|(revision, _)| *revision < last) {
        let message = timeout(crate::patience(), stream.message()).await;
        let message = message.context("no events")??.context("the watch ended")?;
        anyhow::ensure!(!message.canceled, "the watch was cancelled: {}", message.cancel_reason);
        for event in message.events {
            let (revision, change) = change(event).context("an event has a key")?;
            all.entry(revision).or_default().push(change);
        }
    }
    drop(requests);
    all.retain(|revision, _| *revision <= last);
    Ok(all)
}
