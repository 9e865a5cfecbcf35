//! A plain HTTP GET as probes and hooks need it: one connection, one request, no verification of
//! certificates.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes of an answer that are read.
const MAX_BODY: usize = 10 << 10;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    /// Whether to speak TLS.
    pub(crate) tls: bool,
    /// Host to connect to.
    pub(crate) host: String,
    /// Port to connect to.
    pub(crate) port: u16,
    /// Path and query.
    pub(crate) path: String,
    /// More headers.
    pub(crate) headers: Vec<(String, String)>,
    /// Who asks.
    pub(crate) agent: String,
}

impl Get {
    /// The URL, for messages.
    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{}:{}{slash}{}", bracketed(&self.host), self.port, self.path)
    }

    /// The request on the wire.
    fn request(&self) -> Result<http::Request<Empty<Bytes>>, String> {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let mut host = format!("{}:{}", bracketed(&self.host), self.port);
        let mut agent = self.agent.clone();
        let mut accept = "*/*".to_owned();
        let mut rest = Vec::new();
        for (name, value) in &self.headers {
            match name.to_ascii_lowercase().as_str() {
                "host" => host.clone_from(value),
                "user-agent" => agent.clone_from(value),
                "accept" => accept.clone_from(value),
                _ => rest.push((name, value)),
            }
        }
        let mut request = http::Request::get(format!("{slash}{}", self.path))
            .header(http::header::HOST, host)
            .header(http::header::USER_AGENT, agent)
            .header(http::header::ACCEPT, accept)
            .header(http::header::CONNECTION, "close");
        for (name, value) in rest {
            request = request.header(name, value);
        }
        request.body(Empty::new()).map_err(|error| error.to_string())
    }
}

/// An IPv6 address in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Asks once; status and the beginning of the body are the answer.
pub(crate) async fn get(get: &Get, timeout: Duration) -> Result<(u16, String), String> {
    let named = |text: String| format!("Get \"{}\": {text}", get.url());
    match tokio::time::timeout(timeout, attempt(get)).await {
        Ok(answer) => answer.map_err(named),
        Err(_) => Err(named(
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into(),
        )),
    }
}

/// Connects and asks.
async fn attempt(get: &Get) -> Result<(u16, String), String> {
    let at = format!("{}:{}", get.host, get.port);
    let stream = TcpStream::connect((get.host.as_str(), get.port)).await;
    let stream = stream.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            format!("dial tcp {at}: connect: connection refused")
        }
        _ => format!("dial tcp {at}: {error}"),
    })?;
    let request = get.request()?;
    if !get.tls {
        return exchange(stream, request).await;
    }
    let config = super::insecure::config();
    let name = rustls_pki_types::ServerName::try_from(get.host.clone());
    let name = name.map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    exchange(stream, request).await
}

/// One request over a connection.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: http::Request<Empty<Bytes>>,
) -> Result<(u16, String), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = stdx::task::spawn("probe-http", async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "probe connection ended early");
        }
    });
    let answer = sender.send_request(request).await;
    let result = match answer {
        Err(error) => Err(stdx::chain(&error)),
        Ok(answer) => {
            let status = answer.status().as_u16();
            // A body that is too long or broken changes nothing: the status counts.
            let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
            let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
            Ok((status, text.unwrap_or_default()))
        }
    };
    driver.abort();
    result
}
