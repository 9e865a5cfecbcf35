//! One master: its connection and its health.

use super::connect::{Connector, Sender};
use crate::{Error, error::Cause};
use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use stdx::serve::{Body, BoxError};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use url::Url;

/// The longest that the head of an answer may take.
const LONGEST: Duration = Duration::from_secs(70);
/// An answer that takes longer makes the master suspect.
const SUSPICIOUS: Duration = Duration::from_secs(1);
/// How long a master that failed once is avoided while there are others; it doubles up to
/// [`LONGEST_AVOIDANCE`].
const AVOIDANCE: Duration = Duration::from_millis(500);
/// The longest avoidance.
const LONGEST_AVOIDANCE: Duration = Duration::from_secs(5);

/// Why a request got no answer.
pub(super) enum Failure {
    /// It never left.
    NotSent(Cause),
    /// The connection broke under it.
    Broken(Cause),
    /// It took too long.
    Late(Duration),
}

/// A connection, shared by all requests.
#[derive(Clone)]
struct Connection {
    sender: Sender,
    /// Ends the connection and all streams over it.
    cut: CancellationToken,
    number: u64,
}

type Connecting = Shared<BoxFuture<'static, Result<Connection, Arc<str>>>>;

/// One master.
pub(super) struct Server {
    /// Where it is.
    pub(super) url: Url,
    connector: Arc<Connector>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    connecting: Option<Connecting>,
    /// Number of the newest connection.
    number: u64,
    failed_at: Option<Instant>,
    failures: u32,
}

impl Server {
    /// A master at a URL.
    pub(super) fn new(url: Url, connector: Arc<Connector>) -> Result<Self, Error> {
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
            return Err(Error::Config(format!("master {url}: not an https URL")));
        }
        Ok(Self { url, connector, state: Mutex::default() })
    }

    /// Whether it failed a short while ago.
    pub(super) fn is_down(&self) -> bool {
        let state = self.state.lock();
        let avoidance = AVOIDANCE
            .saturating_mul(1 << state.failures.saturating_sub(1).min(8))
            .min(LONGEST_AVOIDANCE);
        state.failed_at.is_some_and(|at| at.elapsed() < avoidance)
    }

    /// When it failed last.
    pub(super) fn failed_at(&self) -> Option<Instant> {
        self.state.lock().failed_at
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.state.lock().connection.as_ref().is_some_and(|one| !one.sender.is_closed())
    }

    /// Ends its connection and all that goes over it.
    pub(super) fn condemn(&self) {
        let mut state = self.state.lock();
        state.failed_at = Some(Instant::now());
        state.failures = state.failures.saturating_add(1);
        if let Some(connection) = state.connection.take() {
            connection.cut.cancel();
        }
    }

    /// A failure of a connection counts once, however many requests it took along.
    fn failed(&self, number: u64) {
        let mut state = self.state.lock();
        if state.number != number {
            return;
        }
        let known = state.connection.take();
        if let Some(connection) = known {
            connection.cut.cancel();
            state.failed_at = Some(Instant::now());
            state.failures = state.failures.saturating_add(1);
        }
    }

    /// The open connection, or a new one.
    async fn connection(self: &Arc<Self>) -> Result<Connection, Cause> {
        let connecting = {
            let mut state = self.state.lock();
            if let Some(connection) = &state.connection
                && !connection.sender.is_closed()
            {
                return Ok(connection.clone());
            }
            let new = || self.clone().connect().boxed().shared();
            state.connecting.get_or_insert_with(new).clone()
        };
        connecting.await.map_err(|text| Cause::from(text.as_ref()))
    }

    async fn connect(self: Arc<Self>) -> Result<Connection, Arc<str>> {
        let cut = CancellationToken::new();
        let connected = self.connector.connect(&self.url, cut.clone()).await;
        let mut state = self.state.lock();
        state.connecting = None;
        match connected {
            Ok(sender) => {
                state.number += 1;
                let connection = Connection { sender, cut, number: state.number };
                state.connection = Some(connection.clone());
                tracing::debug!(master = %self.url, "connected");
                Ok(connection)
            }
            Err(error) => {
                state.failed_at = Some(Instant::now());
                state.failures = state.failures.saturating_add(1);
                Err(format!("{}: {}", self.url, stdx::chain(&*error)).into())
            }
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: &Request<Bytes>,
        suspicion: &Notify,
    ) -> Result<Response<Body>, Failure> {
        let mut connection = self.connection().await.map_err(Failure::NotSent)?;
        let request = self.address(request).map_err(Failure::NotSent)?;
        let number = connection.number;
        let answer = connection.sender.try_send_request(request);
        let answer = with_suspicion(answer, suspicion);
        let response = tokio::select! {
            biased;
            response = tokio::time::timeout(LONGEST, answer) => response,
            () = connection.cut.cancelled() => {
                return Err(Failure::Broken("the master was given up".into()));
            }
        };
        match response {
            Ok(Ok(response)) => {
                let mut state = self.state.lock();
                state.failures = 0;
                state.failed_at = None;
                drop(state);
                Ok(response.map(|body| cuttable(body, connection.cut)))
            }
            Ok(Err(mut error)) => {
                self.failed(number);
                let unsent = error.take_message().is_some();
                let cause: Cause = Box::new(error.into_error());
                Err(if unsent { Failure::NotSent(cause) } else { Failure::Broken(cause) })
            }
            Err(_) => Err(Failure::Late(LONGEST)),
        }
    }

    /// The request as this master wants it: with an absolute URI.
    fn address(&self, request: &Request<Bytes>) -> Result<Request<Full<Bytes>>, Cause> {
        let mut new = Request::new(Full::new(request.body().clone()));
        *new.method_mut() = request.method().clone();
        *new.headers_mut() = request.headers().clone();
        let wanted = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let prefix = self.url.path().trim_end_matches('/');
        let (host, port) = (self.url.host_str().unwrap_or_default(), self.url.port());
        let authority = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        *new.uri_mut() = Uri::builder()
            .scheme(self.url.scheme())
            .authority(authority)
            .path_and_query(format!("{prefix}{wanted}"))
            .build()?;
        Ok(new)
    }
}

/// Raises suspicion while an answer is slow.
async fn with_suspicion<T>(answer: impl Future<Output = T>, suspicion: &Notify) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Ok(output) = tokio::time::timeout(SUSPICIOUS, &mut answer).await {
        return output;
    }
    suspicion.notify_one();
    answer.await
}

/// A body that ends with its connection, even when that only seems alive.
struct Cuttable {
    inner: Incoming,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

fn cuttable(inner: Incoming, cut: CancellationToken) -> Body {
    Cuttable { inner, cut: Box::pin(cut.cancelled_owned()) }.boxed_unsync()
}

impl http_body::Body for Cuttable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err("the connection was given up".into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
