//! A watch over the network that outlives its endpoint: it goes on elsewhere at the next revision.

use async_trait::async_trait;
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::mvccpb;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use super::Inner;
use super::endpoints::PAUSE;
use crate::storage::{Batch, Error, Event, Watch};

/// How often the store is asked how far a quiet watch is.
pub(super) const PROGRESS: Duration = Duration::from_secs(10);
/// Requests on their way on one stream: its beginning and a question or two.
const REQUESTS: usize = 4;

/// An open watch.
pub(super) struct Cursor {
    inner: Arc<Inner>,
    start: Bytes,
    end: Bytes,
    /// The first revision that was not delivered; 0 is "from now on".
    next: i64,
    every: Duration,
    ask_at: Instant,
    stream: Option<Stream>,
}

/// The watch on one endpoint.
struct Stream {
    at: usize,
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

fn request(request: pb::watch_request::RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(request) }
}

impl Cursor {
    /// Opens a watch on the store's keys.
    pub(super) async fn open(
        inner: Arc<Inner>,
        (start, end): (Bytes, Bytes),
        from: i64,
        every: Duration,
    ) -> Result<Self, Error> {
        let ask_at = Instant::now() + every;
        let mut cursor = Self { inner, start, end, next: from, every, ask_at, stream: None };
        cursor.reopen().await?;
        Ok(cursor)
    }

    /// Opens it on the endpoint that answers, from the next revision on.
    async fn reopen(&mut self) -> Result<(), Error> {
        let create = pb::WatchCreateRequest {
            key: self.start.clone(),
            range_end: self.end.clone(),
            start_revision: self.next,
            prev_kv: true,
            progress_notify: true,
            ..Default::default()
        };
        let endpoints = &self.inner.endpoints;
        let call = |at: usize| {
            let (mut client, create) = (endpoints.watch(at), create.clone());
            async move {
                let (requests, queue) = mpsc::channel(REQUESTS);
                let create = request(pb::watch_request::RequestUnion::CreateRequest(create));
                let gone = |_| Status::internal("the queue of a watch is gone");
                requests.send(create).await.map_err(gone)?;
                let mut opening = Request::new(ReceiverStream::new(queue));
                // A member that lost its leader shall say so instead of being silent.
                opening.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
                let mut answers = client.watch(opening).await?.into_inner();
                let ended = || Status::unavailable("the watch ended before it began");
                let created = answers.message().await?.ok_or_else(ended)?;
                match created.created && !created.canceled || created.compact_revision > 0 {
                    true => Ok((Stream { at, requests, answers }, created)),
                    false => Err(Status::failed_precondition(created.cancel_reason)),
                }
            }
        };
        let (stream, created) = endpoints.call(call).await?;
        if created.compact_revision > 0 {
            return Err(Error::Compacted);
        }
        let revision = self.inner.learn(created.header.as_ref());
        if self.next == 0 {
            self.next = revision + 1;
        }
        self.stream = Some(stream);
        Ok(())
    }

    /// What an answer delivers; an error is a stream that is of no use any more.
    fn take(&mut self, answer: pb::WatchResponse) -> Result<Option<Batch>, String> {
        if answer.canceled && answer.compact_revision > 0 {
            return Ok(Some(Batch::Compacted));
        }
        if answer.canceled {
            return Err(answer.cancel_reason);
        }
        let reached = self.inner.learn(answer.header.as_ref());
        if answer.created {
            return Ok(None);
        }
        // An answer with events may be one of several: only the events say how far it goes.
        let revision = match answer.events.last().and_then(|event| event.kv.as_ref()) {
            Some(kv) => kv.mod_revision,
            None => reached,
        };
        if revision < self.next {
            return Ok(None);
        }
        let (inner, next) = (&self.inner, self.next);
        let events = answer.events.into_iter().filter_map(|event| {
            let kv = event.kv?;
            let deleted = event.r#type == i32::from(mvccpb::event::EventType::Delete);
            (kv.mod_revision >= next).then(|| Event {
                key: inner.prefix.inner(kv.key),
                revision: kv.mod_revision,
                value: (!deleted).then_some(kv.value),
                previous: event.prev_kv.map(|kv| (kv.value, kv.mod_revision)),
            })
        });
        let events = events.collect();
        self.next = revision + 1;
        Ok(Some(Batch::Events { revision, events }))
    }

    /// Gives the stream up, and its endpoint.
    fn lose(&mut self, why: &str) {
        if let Some(stream) = self.stream.take() {
            tracing::debug!(why, next = self.next, "a watch goes on elsewhere");
            self.inner.endpoints.leave(stream.at);
        }
    }
}

#[async_trait]
impl Watch for Cursor {
    async fn next(&mut self) -> Option<Batch> {
        loop {
            let Some(stream) = &mut self.stream else {
                match self.reopen().await {
                    Ok(()) => {}
                    Err(Error::Compacted) => return Some(Batch::Compacted),
                    Err(error) => {
                        tracing::debug!(%error, "a watch can't go on yet");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                continue;
            };
            let answer = tokio::select! {
                biased;
                answer = stream.answers.message() => answer,
                () = tokio::time::sleep_until(self.ask_at) => {
                    self.ask_at = Instant::now() + self.every;
                    let ask = pb::watch_request::RequestUnion::ProgressRequest(
                        pb::WatchProgressRequest {},
                    );
                    // A full queue has asked already.
                    let _ = stream.requests.try_send(request(ask));
                    continue;
                }
            };
            match answer {
                Ok(Some(answer)) => match self.take(answer) {
                    Ok(Some(batch)) => return Some(batch),
                    Ok(None) => {}
                    Err(why) => self.lose(&why),
                },
                Ok(None) => self.lose("the stream ended"),
                Err(status) => self.lose(status.message()),
            }
        }
    }

    fn progress(&self) -> Option<i64> {
        (self.next > 0).then(|| self.next - 1)
    }
}
