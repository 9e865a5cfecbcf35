//! One call: JSON in, the gRPC service of this process, JSON out.

use std::{convert::Infallible, pin::Pin};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Body as _, Frame};
use prost_reflect::MethodDescriptor;
use stdx::serve::{Body, BoxError, PeerInfo};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::message::{self, Frames};
use crate::{grpc::Routes, room::Held};

/// Messages of a streaming request that may wait for the service.
const QUEUE: usize = 16;

/// A call to be made.
pub(super) struct Call {
    pub(super) routes: Routes,
    pub(super) method: MethodDescriptor,
    pub(super) metadata: HeaderMap,
    pub(super) peer: PeerInfo,
    /// Most bytes of a request.
    pub(super) limit: usize,
}

impl Call {
    /// One message for one message.
    pub(super) async fn unary<B>(self, body: B) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let request = self.whole(body).await?;
        let mut answers = self.make(Full::new(request)).await?;
        let Some(message) = answers.next().await? else {
            return Err(Status::internal("the service has not answered"));
        };
        // The status comes behind the message.
        answers.next().await?;
        let text = Bytes::from(message::to_json(&message)?);
        let text = match answers.held {
            Some(held) => held.keep(text),
            None => text,
        };
        Ok(super::json(StatusCode::OK, text))
    }

    /// Messages for one message or for several.
    pub(super) async fn stream<B>(self, body: B) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (unreadable, unreadable_out) = oneshot::channel();
        let answers = if self.method.is_client_streaming() {
            let (out, requests) = mpsc::channel(QUEUE);
            let kind = self.method.input();
            let limit = self.limit;
            stdx::task::spawn("store-gateway", async move {
                if let Err(status) = pump(kind, body, limit, out).await
                    && unreadable.send(status).is_err()
                {
                    tracing::trace!("the call has ended first");
                }
            });
            self.make(StreamBody::new(ReceiverStream::new(requests).map(data))).await
        } else {
            let request = self.whole(body).await?;
            self.make(Full::new(request)).await
        };
        let lines = match answers {
            Ok(answers) => lines(answers, unreadable_out),
            Err(status) => return Ok(super::json(super::http_status(status.code()), end(&status))),
        };
        let body = BodyExt::boxed_unsync(StreamBody::new(
            lines.map(|line| Ok::<_, BoxError>(Frame::data(line))),
        ));
        let mut response = Response::new(body);
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }

    /// The whole request as a frame.
    async fn whole<B>(&self, body: B) -> Result<Bytes, Status>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let body = Limited::new(body, self.limit).collect().await.map_err(|error| {
            let text = format!("the request cannot be read: {error}");
            Status::new(Code::InvalidArgument, text)
        })?;
        let message = message::from_json(&self.method.input(), &body.to_bytes())?;
        Ok(message::frame(&message))
    }

    async fn make<B>(self, body: B) -> Result<Answers, Status>
    where
        B: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let service = self.method.parent_service().full_name();
        let path = format!("/{service}/{}", self.method.name());
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = path.parse().map_err(|_| Status::internal("not a path"))?;
        *request.headers_mut() = self.metadata;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        request.extensions_mut().insert(self.peer);
        let response = self.routes.call(request.map(tonic::body::Body::new)).await;
        let (mut head, body) = response.into_parts();
        let held = head.extensions.remove();
        match Status::from_header_map(&head.headers) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(Answers { body, frames: Frames::new(self.method.output()), held }),
        }
    }
}

/// Messages that a call is answered with.
struct Answers {
    body: tonic::body::Body,
    frames: Frames,
    /// The room of the answer.
    held: Option<Held>,
}

impl Answers {
    /// The next message; `None` at a good end.
    async fn next(&mut self) -> Result<Option<prost_reflect::DynamicMessage>, Status> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(message));
            }
            if self.body.is_end_stream() {
                return Ok(None);
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            match frame?.into_data() {
                Ok(data) => self.frames.push(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    match Status::from_header_map(&trailers) {
                        Some(status) if status.code() != Code::Ok => return Err(status),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }
}

type Lines = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Answers as lines; an error, or a request that cannot be read, is the last.
fn lines(answers: Answers, unreadable: oneshot::Receiver<Status>) -> Lines {
    let unreadable = Box::pin(async move { unreadable.await.ok() }.fuse());
    let state = Some((answers, unreadable));
    let lines = futures::stream::unfold(state, |state| async move {
        let (mut answers, mut unreadable) = state?;
        loop {
            let next = tokio::select! {
                next = answers.next() => next,
                status = &mut unreadable => match status {
                    Some(status) => Err(status),
                    None => continue,
                },
            };
            let text = match next {
                Ok(Some(message)) => message::to_json(&message),
                Ok(None) => return None,
                Err(status) => Err(status),
            };
            return Some(match text {
                Ok(text) => {
                    let line = [b"{\"result\":", text.as_slice(), b"}\n"].concat();
                    (line.into(), Some((answers, unreadable)))
                }
                Err(status) => ((end(&status) + "\n").into(), None),
            });
        }
    });
    Box::pin(lines)
}

fn end(status: &Status) -> String {
    format!("{{\"error\":{}}}", message::error(status))
}

fn data(bytes: Bytes) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(bytes))
}

/// Turns objects of a request into messages as they come.
async fn pump<B: hyper::body::Body<Data = Bytes> + Unpin>(
    kind: prost_reflect::MessageDescriptor,
    mut body: B,
    limit: usize,
    out: mpsc::Sender<Bytes>,
) -> Result<(), Status> {
    let mut values = message::Values::default();
    while let Some(frame) = body.frame().await.and_then(Result::ok) {
        let Ok(data) = frame.into_data() else { continue };
        values.push(&data);
        while let Some(value) = values.next()? {
            let message = message::from_json(&kind, &value)?;
            if out.send(message::frame(&message)).await.is_err() {
                return Ok(());
            }
        }
        if values.waiting() > limit {
            return Err(Status::invalid_argument("the request is too large"));
        }
    }
    values.finish()
}
