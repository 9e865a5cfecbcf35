//! The accept loop of every HTTPS server of ours: TLS, HTTP/1.1 with upgrades and HTTP/2 on one port, graceful
//! end.
//!
//! A connection that does not finish its TLS handshake in [`HANDSHAKE`] is dropped. At shutdown the listener
//! closes first, open requests may finish for [`DRAIN`].

mod address;
mod gather;

pub use address::{Address, Listener};

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
use tokio_rustls::server::TlsStream;

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
    /// Whether it speaks TLS.
    pub is_secure: bool,
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

    /// The first byte that a client sends, which stays to be read; none when it cannot be known.
    fn first_byte(stream: &Self::Stream) -> impl Future<Output = io::Result<Option<u8>>> + Send {
        _ = stream;
        async { Ok(None) }
    }
}

/// What a port speaks.
#[derive(Clone)]
pub enum Security {
    /// Plain text only.
    Plain,
    /// TLS only.
    Tls(Arc<rustls::ServerConfig>),
    /// What each client begins with. Where that [cannot be known](Accept::first_byte), TLS.
    Either(Arc<rustls::ServerConfig>),
}

impl From<Option<Arc<rustls::ServerConfig>>> for Security {
    fn from(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        tls.map_or(Self::Plain, Self::Tls)
    }
}

/// The first byte of a TLS connection: a handshake record's kind (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, addr) = self.accept().await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay not set");
        }
        Ok((stream, Some(addr)))
    }

    async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
        let mut first = [0];
        let read = stream.peek(&mut first).await?;
        Ok((read > 0).then_some(first[0]))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        Ok((self.accept().await?.0, None))
    }
}

/// Accepts connections until shutdown, then drains. The name is the endpoint's in the log.
pub async fn listen<L, S, F>(
    name: &'static str,
    listener: L,
    security: impl Into<Security>,
    shutdown: Shutdown,
    service: S,
) where
    L: Accept,
    S: Fn(PeerInfo, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let security = security.into();
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
        let (security, service, watcher) = (security.clone(), service.clone(), graceful.watcher());
        let shutdown = shutdown.clone();
        crate::task::spawn("connection", async move {
            let opened = tokio::time::timeout(HANDSHAKE, open::<L>(stream, security));
            match shutdown.guard(opened).await {
                Some(Ok(Ok(Opened::Plain(stream)))) => {
                    let peer = PeerInfo { addr, is_secure: false, certs: Arc::default() };
                    connection(stream, peer, watcher, service).await;
                }
                Some(Ok(Ok(Opened::Tls(stream)))) => {
                    let certs = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let certs = certs.iter().map(|cert| cert.clone().into_owned()).collect();
                    let peer = PeerInfo { addr, is_secure: true, certs: Arc::new(certs) };
                    connection(*stream, peer, watcher, service).await;
                }
                Some(Ok(Err(error))) => rejected(name, addr, &error),
                Some(Err(_)) => tracing::debug!(name, ?addr, "TLS handshake took too long"),
                None => {}
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::debug!("open requests were cut at shutdown");
    }
}

/// Tells of a connection that was not let in, as etcd does. Somebody who only knocks is not worth a warning.
fn rejected(name: &str, addr: Option<SocketAddr>, error: &io::Error) {
    let addr = addr.map(|addr| addr.to_string());
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            tracing::debug!(addr, %error, "rejected connection on {name} endpoint");
        }
        _ => tracing::warn!(addr, %error, "rejected connection on {name} endpoint"),
    }
}

/// A connection on which HTTP can begin.
enum Opened<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

/// Does the handshake of a connection that begins with one.
async fn open<L: Accept>(stream: L::Stream, security: Security) -> io::Result<Opened<L::Stream>> {
    let tls = match security {
        Security::Plain => None,
        Security::Tls(tls) => Some(tls),
        Security::Either(tls) => {
            let first = L::first_byte(&stream).await?;
            first.is_none_or(|first| first == HANDSHAKE_RECORD).then_some(tls)
        }
    };
    match tls {
        None => Ok(Opened::Plain(stream)),
        Some(tls) => Ok(Opened::Tls(Box::new(TlsAcceptor::from(tls).accept(stream).await?))),
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

#[cfg(test)]
mod tests;
