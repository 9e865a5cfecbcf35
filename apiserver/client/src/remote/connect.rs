//! New connections: TCP, TLS, HTTP/2.

use super::Tls;
use crate::{Error, error::Cause};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

/// Time for a TCP connection: a host that lost power doesn't refuse.
const CONNECT: Duration = Duration::from_secs(1);
/// Time for the handshakes of TLS and HTTP/2.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection that was quiet for so long is pinged, as long as requests or watches are open.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A connection whose ping stays unanswered for so long is dead.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// HTTP/2 window of a stream.
const STREAM_WINDOW: u32 = 1 << 20;
/// HTTP/2 window of a connection: one slow reader doesn't hold up the others.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Sends requests over a connection.
pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Makes connections.
pub(super) struct Connector {
    tls: Tls,
    /// The last settings that could be loaded.
    loaded: Mutex<Arc<rustls::ClientConfig>>,
}

impl Connector {
    /// Fails when the settings can't be loaded now.
    pub(super) fn new(tls: Tls) -> Result<Self, Error> {
        let loaded = Mutex::new(load(&tls)?);
        Ok(Self { tls, loaded })
    }

    /// The settings for a new connection. A half-renewed pair of files doesn't hurt.
    fn settings(&self) -> Arc<rustls::ClientConfig> {
        let mut loaded = self.loaded.lock();
        if let Tls::Files(_) = self.tls {
            match load(&self.tls) {
                Ok(new) => *loaded = new,
                Err(error) => {
                    tracing::warn!(error = stdx::chain(&error), "TLS files kept as they were");
                }
            }
        }
        loaded.clone()
    }

    /// Connects to a master. Its connection ends when `cut` is cancelled.
    pub(super) async fn connect(&self, url: &Url, cut: CancellationToken) -> Result<Sender, Cause> {
        let host = url.host().ok_or("the URL names no host")?;
        let port = url.port_or_known_default().ok_or("the URL names no port")?;
        let stream = timeout(CONNECT, async {
            match &host {
                Host::Domain(name) => TcpStream::connect((*name, port)).await,
                Host::Ipv4(ip) => TcpStream::connect((*ip, port)).await,
                Host::Ipv6(ip) => TcpStream::connect((*ip, port)).await,
            }
        })
        .await
        .map_err(|_| "no connection in time")??;
        stream.set_nodelay(true)?;
        timeout(HANDSHAKE, async {
            if url.scheme() == "http" {
                return http2(stream, cut).await;
            }
            let name = match host {
                Host::Domain(name) => ServerName::try_from(name.to_owned())?,
                Host::Ipv4(ip) => ServerName::IpAddress(std::net::IpAddr::V4(ip).into()),
                Host::Ipv6(ip) => ServerName::IpAddress(std::net::IpAddr::V6(ip).into()),
            };
            let connector = TlsConnector::from(self.settings());
            http2(connector.connect(name, stream).await?, cut).await
        })
        .await
        .map_err(|_| "no handshake in time")?
    }
}

fn load(tls: &Tls) -> Result<Arc<rustls::ClientConfig>, Error> {
    match tls {
        Tls::Files(files) => {
            let files = stdx::tls::ClientTls { alpn: vec!["h2"], ..files.clone() };
            Ok(files.load()?)
        }
        Tls::Pem { ca, identity } => {
            let identity = identity.as_ref().map(|(cert, key)| (cert.as_slice(), key.as_slice()));
            Ok(stdx::tls::client_from_pem(ca, identity, &["h2"])?)
        }
    }
}

/// Speaks HTTP/2 over a stream until it ends or is cut.
async fn http2<I>(stream: I, cut: CancellationToken) -> Result<Sender, Cause>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await?;
    stdx::task::spawn("client-connection", async move {
        // A master that stops in order ends this too, and still answers what is under way.
        if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
            tracing::debug!(error = stdx::chain(&error), "connection to a master ended");
        }
    });
    Ok(sender)
}
