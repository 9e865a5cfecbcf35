//! The connections to the endpoints: which one is asked, when the next one is, and what errors mean.

use proto::etcdserverpb::{
    kv_client::KvClient, lease_client::LeaseClient, watch_client::WatchClient,
};
use std::error::Error as _;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, ConnectError, Status};

use super::{Config, Error, PATIENCE};

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Time for an answer to anything but a write.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Time for an answer to a write.
pub(super) const WRITE: Duration = Duration::from_secs(10);
/// Pause when all endpoints failed.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// A sign of life is asked for when a connection with open requests was silent for so long; etcd forbids less
/// than 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Time for that sign.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes on their way to one slow reader.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes on their way to all: slow watches must not hold up other requests on the connection.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// All endpoints, and the one that is asked now.
pub(super) struct Endpoints {
    channels: Vec<Channel>,
    current: AtomicUsize,
}

/// What an error says about the request.
pub(super) enum Failure {
    /// It did not happen; another endpoint may do it.
    NotSent(String),
    /// It may have happened.
    Unknown(String),
    /// It did not happen and will not.
    Refused(Error),
}

fn other(text: String) -> Error {
    Error::Other(text)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| other(format!("{}: {error}", path.display())))
}

fn tls(config: &Config) -> Result<ClientTlsConfig, Error> {
    let Some(ca) = &config.ca else {
        return Err(other("https needs the servers' authority: --etcd-cafile".to_owned()));
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => Ok(tls.identity(Identity::from_pem(read(cert)?, read(key)?))),
        (None, None) => Ok(tls),
        _ => Err(other("--etcd-certfile and --etcd-keyfile belong together".to_owned())),
    }
}

impl Endpoints {
    /// Connections are made when they are needed.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        if config.servers.is_empty() {
            return Err(other("no etcd server is named: --etcd-servers".to_owned()));
        }
        let channels = config.servers.iter().map(|url| {
            let bad = |error: tonic::transport::Error| {
                other(format!("--etcd-servers: {url:?}: {}", stdx::chain(&error)))
            };
            let mut endpoint = Endpoint::from_shared(url.clone()).map_err(bad)?;
            if url.starts_with("https://") {
                endpoint = endpoint.tls_config(tls(config)?).map_err(bad)?;
            } else if !url.starts_with("http://") {
                return Err(other(format!("--etcd-servers: {url:?} is neither http nor https")));
            }
            let endpoint = endpoint
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            Ok(endpoint.connect_lazy())
        });
        Ok(Self { channels: channels.collect::<Result<_, _>>()?, current: AtomicUsize::new(0) })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The one to ask.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Goes on to the next one, unless somebody did already.
    pub(super) fn leave(&self, at: usize) {
        let next = (at + 1) % self.len();
        let order = Ordering::Relaxed;
        if self.current.compare_exchange(at, next, order, order).is_ok() && self.len() > 1 {
            tracing::debug!(at, next, "going on to the next endpoint of the store");
        }
    }

    /// Keys and values of an endpoint.
    pub(super) fn kv(&self, at: usize) -> KvClient<Channel> {
        KvClient::new(self.channels[at].clone()).max_decoding_message_size(usize::MAX)
    }

    /// Leases of an endpoint.
    pub(super) fn lease(&self, at: usize) -> LeaseClient<Channel> {
        LeaseClient::new(self.channels[at].clone())
    }

    /// Watches of an endpoint.
    pub(super) fn watch(&self, at: usize) -> WatchClient<Channel> {
        WatchClient::new(self.channels[at].clone()).max_decoding_message_size(usize::MAX)
    }

    /// Asks one endpoint after the other. For what may be done twice.
    pub(super) async fn call<T, F>(&self, request: impl Fn(usize) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let end = Instant::now() + PATIENCE;
        let mut tries = 0;
        loop {
            let at = self.current();
            let text = match timed(ATTEMPT, request(at)).await {
                Ok(answer) => return Ok(answer),
                Err(status) => match failure(&status) {
                    Failure::Refused(error) => return Err(error),
                    Failure::NotSent(text) | Failure::Unknown(text) => text,
                },
            };
            self.leave(at);
            tries += 1;
            if Instant::now() >= end {
                return Err(Error::Unavailable(text));
            }
            if tries % self.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Waits for an answer as long as it is worth it.
pub(super) async fn timed<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_| Err(Status::deadline_exceeded("etcdserver: request timed out"));
    tokio::time::timeout(time, answer).await.unwrap_or_else(late)
}

/// What an error means.
pub(super) fn failure(status: &Status) -> Failure {
    let text = status.message().to_owned();
    let has = |part: &str| text.contains(part);
    if is_connect(status) || has("etcdserver: no leader") || has("too many requests") {
        return Failure::NotSent(text);
    }
    let no_answer = matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    );
    match status.code() {
        // What breaks on the way has a source; what the server says has none.
        Code::Internal if status.source().is_some() => Failure::Unknown(text),
        Code::Internal | Code::Unknown if has("etcdserver: ") => Failure::Refused(other(text)),
        Code::OutOfRange if has("compacted") => Failure::Refused(Error::Compacted),
        Code::OutOfRange if has("future revision") => Failure::Refused(Error::Future),
        Code::InvalidArgument if has("request is too large") => {
            Failure::Refused(Error::TooLarge(text))
        }
        _ if no_answer => Failure::Unknown(text),
        _ => Failure::Refused(other(text)),
    }
}

/// Whether there was no connection at all.
fn is_connect(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_the_request_may_have_happened() {
        let of = |code, text: &str| failure(&Status::new(code, text));
        let text = "etcdserver: request timed out";
        assert!(matches!(of(Code::Unavailable, text), Failure::Unknown(_)));
        assert!(matches!(of(Code::Unavailable, "etcdserver: no leader"), Failure::NotSent(_)));
        let text = "etcdserver: mvcc: required revision has been compacted";
        assert!(matches!(of(Code::OutOfRange, text), Failure::Refused(Error::Compacted)));
        let text = "etcdserver: mvcc: required revision is a future revision";
        assert!(matches!(of(Code::OutOfRange, text), Failure::Refused(Error::Future)));
        let text = "etcdserver: request is too large";
        assert!(matches!(of(Code::InvalidArgument, text), Failure::Refused(Error::TooLarge(_))));
        let text = "etcdserver: permission denied";
        assert!(matches!(of(Code::PermissionDenied, text), Failure::Refused(Error::Other(_))));
    }
}
