//! The accept loop of every HTTPS server of ours: TLS, HTTP/1.1 with upgrades and HTTP/2 on one port, graceful
//! end.
//!
//! A connection that does not finish its TLS handshake in [`HANDSHAKE`] is dropped. At shutdown the listener
//! closes first, open requests may finish for [`DRAIN`].

mod gather;

use crate::Shutdown;
use bytes::Bytes;
use gather::{Gather, Waiting};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls_pki_types::CertificateDer;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time that open requests get at shutdown.
const DRAIN: Duration = Duration::from_secs(3);
/// HTTP/2 streams per connection: watches are streams, and nodes hold many.
const STREAMS: u32 = 4096;
/// HTTP/2 window of a stream and of a connection.
const WINDOW: u32 = 1 << 20;

/// Any error that a body may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct PeerInfo {
    /// Its address; `None` on this host: through the file system or inside the process.
    pub addr: Option<SocketAddr>,
    /// The client certificates that it proved, leaf first; empty without.
    pub certs: Arc<Vec<CertificateDer<'static>>>,
}

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body of nothing.
pub fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// What connections are taken from.
pub trait Accept: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection and where it comes from.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, addr) = self.accept().await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay not set");
        }
        Ok((stream, Some(addr)))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        Ok((self.accept().await?.0, None))
    }
}

/// Accepts connections until shutdown, then drains. With `tls` the port speaks TLS only, without it plain text
/// only.
pub async fn listen<L, S, F>(
    listener: L,
    tls: Option<Arc<rustls::ServerConfig>>,
    shutdown: Shutdown,
    service: S,
) where
    L: Accept,
    S: Fn(PeerInfo, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let acceptor = tls.map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            accepted = listener.next() => accepted,
        };
        let (stream, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or memory: the next accept may do better.
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, service, watcher) = (acceptor.clone(), service.clone(), graceful.watcher());
        let shutdown = shutdown.clone();
        crate::task::spawn("connection", async move {
            let Some(acceptor) = acceptor else {
                let peer = PeerInfo { addr, certs: Arc::default() };
                return connection(stream, peer, watcher, service).await;
            };
            let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
            match shutdown.guard(handshake).await {
                Some(Ok(Ok(stream))) => {
                    let certs = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let certs = certs.iter().map(|cert| cert.clone().into_owned()).collect();
                    let peer = PeerInfo { addr, certs: Arc::new(certs) };
                    connection(stream, peer, watcher, service).await;
                }
                Some(Ok(Err(error))) => tracing::debug!(?addr, %error, "TLS handshake failed"),
                Some(Err(_)) => tracing::debug!(?addr, "TLS handshake took too long"),
                None => {}
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::debug!("open requests were cut at shutdown");
    }
}

/// Serves one connection to its end.
async fn connection<I, S, F>(stream: I, peer: PeerInfo, watcher: Watcher, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(PeerInfo, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .timer(hyper_util::rt::TokioTimer::new());
    let waiting = Waiting::default();
    let stream = Gather::new(stream, waiting.clone());
    let service = service_fn(move |request| {
        let answer = service(peer.clone(), request);
        let one = waiting.one();
        async move {
            let answer = answer.await;
            drop(one);
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let watched = watcher.watch(serving.into_owned());
    if let Err(error) = watched.await {
        tracing::debug!(error = %error, "connection ended early");
    }
}
