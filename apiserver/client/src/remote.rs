//! HTTPS to several masters as if they were one.
//!
//! All requests go to one master as long as it is well: a node's watches and writes see the same
//! state. A master that refuses connections, breaks one, or stops answering is left at once; what
//! was certainly not carried out, or may be carried out twice, goes on at the next one, and its
//! streams end so that their readers resume elsewhere. Three things tell that a master is not
//! well: an error, HTTP/2 pings that stay unanswered ([`connect`]), and a failing readiness probe
//! while another master's succeeds ([`probe`]): the last finds masters that live but have lost
//! the others.

mod connect;
mod probe;
mod server;
mod token;

use crate::{Error, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use server::{Failure, Server};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use stdx::serve::Body;
use token::Token;
use tokio::{sync::Notify, time::Instant};
use url::Url;

/// How long a request looks for a master that accepts it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long refusals that ask for a retry are retried.
const RETRIES: Duration = Duration::from_secs(15);
/// The first pause when no master is left to try; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(25);
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How to reach a cluster's masters.
#[derive(Clone, Default)]
pub struct Config {
    /// The masters, `https://` (or `http://` in tests).
    pub servers: Vec<Url>,
    /// How to trust them, and what to show them.
    pub tls: Tls,
    /// A bearer token.
    pub token: Option<String>,
    /// A file with a bearer token, read again every minute.
    pub token_file: Option<PathBuf>,
    /// Who asks.
    pub user_agent: String,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// What a Pod's service account gives: token, authority and address.
    pub fn in_cluster(host: &str, port: u16, folder: &std::path::Path) -> Result<Self, Error> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("https://{host}:{port}");
        let server = url.parse().map_err(|error| Error::Config(format!("{url}: {error}")))?;
        let ca = Some(folder.join("ca.crt"));
        Ok(Self {
            servers: vec![server],
            tls: Tls::Files(stdx::tls::ClientTls { ca, ..Default::default() }),
            token_file: Some(folder.join("token")),
            ..Self::default()
        })
    }
}

/// How to trust servers, and what to show them.
#[derive(Clone)]
pub enum Tls {
    /// From files, which are read again for every new connection: certificates are renewed.
    Files(stdx::tls::ClientTls),
    /// From memory.
    Pem {
        /// Authorities.
        ca: Vec<u8>,
        /// Certificate and key.
        identity: Option<(Vec<u8>, Vec<u8>)>,
    },
}

impl Default for Tls {
    fn default() -> Self {
        Self::Pem { ca: Vec::new(), identity: None }
    }
}

/// The transport.
pub(crate) struct Remote {
    shared: Arc<Shared>,
}

/// What requests and the prober share.
struct Shared {
    servers: Vec<Arc<Server>>,
    /// The one that requests go to.
    current: AtomicUsize,
    token: Token,
    /// Something looks wrong with the current one.
    suspicion: Notify,
}

impl Remote {
    /// Connects when the first request comes.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let Config { servers, tls, token, token_file, user_agent: _ } = config;
        if servers.is_empty() {
            return Err(Error::Config("no master is named".into()));
        }
        let connector = Arc::new(connect::Connector::new(tls)?);
        let servers: Vec<_> = servers
            .into_iter()
            .map(|url| Server::new(url, connector.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        // Clients spread over the masters.
        let first = rand::random_range(0..servers.len());
        let shared = Arc::new(Shared {
            servers,
            current: AtomicUsize::new(first),
            token: Token::new(token, token_file),
            suspicion: Notify::new(),
        });
        if shared.servers.len() > 1 {
            stdx::task::spawn("client-probe", probe::run(Arc::downgrade(&shared)));
        }
        Ok(Self { shared })
    }
}

#[async_trait]
impl Transport for Remote {
    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Body>, Error> {
        if let Some(value) = self.shared.token.header()? {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        self.shared.send(&request).await
    }

    fn is_local(&self) -> bool {
        false
    }
}

/// How the tries of one request go.
struct Tries {
    start: Instant,
    /// Tries since the last pause.
    round: usize,
    pause: Duration,
}

impl Tries {
    fn new() -> Self {
        Self { start: Instant::now(), round: 0, pause: PAUSE }
    }

    /// Makes ready for another try: at once while there are masters that were not tried, then
    /// with pauses. `false` when the time is up.
    async fn again(&mut self, masters: usize, limit: Duration) -> bool {
        self.round += 1;
        if self.round >= masters {
            if self.start.elapsed() + self.pause > limit {
                return false;
            }
            tokio::time::sleep(self.pause.mul_f64(rand::random_range(0.75..1.25))).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.round = 0;
        }
        true
    }
}

impl Shared {
    async fn send(&self, request: &Request<Bytes>) -> Result<Response<Body>, Error> {
        let twice = may_be_carried_out_twice(request);
        let masters = self.servers.len();
        let mut tries = Tries::new();
        loop {
            let (index, server) = self.pick();
            match server.send(request, &self.suspicion).await {
                Ok(response) => {
                    let Some(delay) = retry_delay(&response, twice) else { return Ok(response) };
                    self.suspicion.notify_one();
                    if tries.start.elapsed() + delay > RETRIES {
                        return Ok(response);
                    }
                    tokio::time::sleep(delay).await;
                }
                Err(Failure::NotSent(cause)) => {
                    self.leave(index);
                    if !tries.again(masters, PATIENCE).await {
                        return Err(Error::Unreachable(Some(cause)));
                    }
                }
                Err(Failure::Broken(cause)) => {
                    self.leave(index);
                    if !twice || !tries.again(masters, PATIENCE).await {
                        return Err(Error::Broken(cause));
                    }
                }
                Err(Failure::Late(limit)) => return Err(Error::Timeout(limit)),
            }
        }
    }

    /// The master to ask now: the current one, or the next that isn't known to be down.
    fn pick(&self) -> (usize, Arc<Server>) {
        let current = self.current.load(Ordering::Relaxed);
        let count = self.servers.len();
        let order = (0..count).map(|step| (current + step) % count);
        let index = order.clone().find(|index| !self.servers[*index].is_down());
        // All are down: the one that failed longest ago.
        let index = index
            .or_else(|| order.min_by_key(|index| self.servers[*index].failed_at()))
            .unwrap_or(current);
        if index != current {
            self.current.store(index, Ordering::Relaxed);
            tracing::debug!(master = %self.servers[index].url, "asking another master");
        }
        (index, self.servers[index].clone())
    }

    /// Goes on to the next master, unless others did already.
    fn leave(&self, index: usize) {
        let next = (index + 1) % self.servers.len();
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Whether a repetition does no harm: it changes nothing, or fails with a conflict.
fn may_be_carried_out_twice(request: &Request<Bytes>) -> bool {
    let media_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    match *request.method() {
        Method::POST => false,
        Method::PATCH => media_type != Some(b"application/json-patch+json".as_slice()),
        _ => true,
    }
}

/// How long to wait before the same request goes out again; `None` when the answer counts.
fn retry_delay(response: &Response<Body>, twice: bool) -> Option<Duration> {
    let code = response.status();
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| {
        let seconds: u64 = value.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(5)))
    });
    match code {
        StatusCode::TOO_MANY_REQUESTS => asked,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
            asked.or_else(|| twice.then_some(Duration::from_millis(100)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
