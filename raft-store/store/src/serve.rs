//! The client ports: gRPC and plain HTTP on one, with TLS or without.

use std::{io, sync::Arc, time::Instant};

use futures::FutureExt;
use http::{Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use stdx::{
    Shutdown,
    serve::{Body, Listener, PeerInfo, Security},
    tls::{Limits, ServerTls},
};
use tokio::net::TcpListener;

pub use stdx::serve::Address;

use crate::{
    Error, Handle,
    auth::common_name,
    gateway,
    grpc::{self, Routes},
    http as plain,
};

/// What is served at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Everything.
    All,
    /// gRPC alone.
    Grpc,
    /// JSON and what is asked with plain HTTP.
    Http,
    /// Metrics and health.
    Metrics,
}

/// A place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// Whether TLS is spoken there.
    pub secure: bool,
    /// What is served.
    pub serves: Serves,
}

/// Where and how to serve.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Certificates, for places that speak TLS.
    pub tls: Option<ServerTls>,
    /// What TLS may not be.
    pub limits: Limits,
}

impl From<&crate::Config> for Serving {
    fn from(config: &crate::Config) -> Self {
        let listen = config.listen_client.clone();
        Self { listen, tls: config.client_tls.clone(), limits: config.client_tls_limits.clone() }
    }
}

/// Serves clients at all places until shutdown.
pub async fn serve(serving: Serving, handle: Handle, shutdown: Shutdown) -> Result<(), Error> {
    bind(serving, handle, shutdown).await?.await;
    Ok(())
}

/// Begins to listen at all places; what it gives serves clients there until shutdown.
pub async fn bind(
    serving: Serving,
    handle: Handle,
    shutdown: Shutdown,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let tls = load(serving.tls, &serving.limits)?;
    let routes = grpc::routes(&handle)?;
    let mut running = Vec::with_capacity(serving.listen.len());
    for (Listen { address, serves, .. }, speaks) in places(&serving.listen) {
        let security = match (speaks, &tls) {
            (Speaks::Plain, _) => Security::Plain,
            (Speaks::Tls, Some(tls)) => Security::Tls(tls.clone()),
            (Speaks::Either, Some(tls)) => Security::Either(tls.clone()),
            (_, None) => return Err(Error::Start("TLS without a certificate".to_owned())),
        };
        let site = Site { handle: handle.clone(), routes: routes.clone(), serves };
        let shutdown = shutdown.clone();
        let listener = address.bind().await;
        running.push(match listener.map_err(|error| cannot(&address, &error))? {
            Listener::Tcp(listener) => site.run(listener, security, shutdown).boxed(),
            Listener::Unix(listener) => site.run(listener, security, shutdown).boxed(),
        });
    }
    Ok(futures::future::join_all(running).map(drop))
}

/// Serves clients on sockets that are already listening, until shutdown.
pub async fn serve_on(
    listeners: Vec<TcpListener>,
    tls: Option<ServerTls>,
    handle: Handle,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let tls = load(tls, &handle.inner.config.client_tls_limits)?;
    let routes = grpc::routes(&handle)?;
    let running = listeners.into_iter().map(|listener| {
        let site = Site { handle: handle.clone(), routes: routes.clone(), serves: Serves::All };
        site.run(listener, tls.clone(), shutdown.clone())
    });
    futures::future::join_all(running).await;
    Ok(())
}

/// What a place speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Plain,
    Tls,
    Either,
}

/// Where to listen, each address once: one that is named with TLS and without it speaks both. A place for metrics stays
/// one: what it speaks must not open the way to keys.
fn places(listen: &[Listen]) -> Vec<(Listen, Speaks)> {
    let mut places: Vec<(Listen, Speaks)> = Vec::with_capacity(listen.len());
    for one in listen {
        let speaks = if one.secure { Speaks::Tls } else { Speaks::Plain };
        let is_metrics = |listen: &Listen| listen.serves == Serves::Metrics;
        let is_same =
            |known: &Listen| known.address == one.address && is_metrics(known) == is_metrics(one);
        match places.iter_mut().find(|(known, _)| is_same(known)) {
            Some((known, known_speaks)) => {
                if known.serves != one.serves {
                    known.serves = Serves::All;
                }
                if *known_speaks != speaks {
                    *known_speaks = Speaks::Either;
                }
            }
            None => places.push((one.clone(), speaks)),
        }
    }
    places
}

fn cannot(place: &Address, error: &io::Error) -> Error {
    Error::Start(format!("listening for clients on {place}: {error}"))
}

fn load(
    tls: Option<ServerTls>,
    limits: &Limits,
) -> Result<Option<Arc<rustls::ServerConfig>>, Error> {
    let tls =
        tls.map(|files| ServerTls { alpn: vec!["h2", "http/1.1"], ..files }.load_limited(limits));
    tls.transpose().map_err(|error| Error::Start(stdx::chain(&error)))
}

/// One place to listen.
#[derive(Clone)]
struct Site {
    handle: Handle,
    routes: Routes,
    serves: Serves,
}

impl Site {
    async fn run<L: stdx::serve::Accept>(
        self,
        listener: L,
        security: impl Into<Security>,
        shutdown: Shutdown,
    ) {
        let service = move |peer, request| self.clone().answer(peer, request);
        stdx::serve::listen("client", listener, security, shutdown, service).await;
    }

    async fn answer(self, peer: PeerInfo, request: Request<Incoming>) -> Response<Body> {
        let kind = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        let is_grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
        match (is_grpc, self.serves) {
            (true, Serves::All | Serves::Grpc) => self.call(peer, request).await,
            (false, Serves::All | Serves::Http) => self.plain(peer, request).await,
            (false, Serves::Metrics) if is_about_health(request.uri().path()) => {
                plain::answer(&self.handle, &request).await
            }
            _ => plain::not_found(),
        }
    }

    async fn call(self, peer: PeerInfo, mut request: Request<Incoming>) -> Response<Body> {
        // A stream is answered as soon as it stands: this is about single answers.
        let (began, slow) = (Instant::now(), self.handle.inner.config.slow_call);
        let (remote, uri) = (peer.addr, request.uri().clone());
        let grpc = &self.handle.inner.metrics.grpc;
        let counted = grpc.start(request.uri().path(), request.headers());
        request.extensions_mut().insert(peer);
        let request = match &counted {
            Some(call) => call.watch(request),
            None => request.map(tonic::body::Body::new),
        };
        let response = self.routes.call(request).await;
        let took = began.elapsed();
        if took > slow {
            tracing::warn!(?took, ?remote, call = uri.path(), "request stats");
        }
        match counted {
            Some(call) => call.follow(response),
            None => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        }
    }

    /// Whether somebody asks in JSON with a certificate that names a user: JSON does not know it, as in etcd.
    fn ignores_name(&self, head: &http::request::Parts, peer: &PeerInfo) -> bool {
        let inner = &self.handle.inner;
        inner.config.client_cert_auth
            && head.uri.path().starts_with(gateway::PREFIX)
            && inner.state().load().auth.read().is_enabled()
            && common_name(&peer.certs).is_some_and(|name| !name.is_empty())
    }

    async fn plain(self, peer: PeerInfo, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let access = &self.handle.inner.config.access;
        if let Some(host) = access.unknown_host(&head).filter(|_| !peer.is_secure) {
            tracing::warn!(host, "asked under a name that is not known");
            return plain::misdirected(&host);
        }
        if self.ignores_name(&head, &peer) {
            return plain::refused_name();
        }
        let (asked, handle) = (head.headers.clone(), self.handle.clone());
        let request = Request::from_parts(head, body);
        let mut response = if request.method() == Method::OPTIONS {
            Response::new(stdx::serve::empty())
        } else if request.uri().path().starts_with(gateway::PREFIX) {
            let limit = self.handle.inner.config.max_request_bytes * 2 + JSON_OVERHEAD;
            Box::pin(gateway::answer(self.routes, peer, request, limit)).await
        } else {
            plain::answer(&self.handle, &request).await
        };
        handle.inner.config.access.mark(&asked, response.headers_mut());
        response
    }
}

fn is_about_health(path: &str) -> bool {
    let first = path.split('/').nth(1);
    first.is_some_and(|first| ["metrics", "health", "livez", "readyz"].contains(&first))
}

/// Most bytes of a request in JSON, beside those of the largest request in base64.
const JSON_OVERHEAD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_listened_on_once() {
        let listen = |port: u16, secure, serves| Listen {
            address: Address::Tcp(([127, 0, 0, 1], port).into()),
            secure,
            serves,
        };
        let given = [
            listen(1, true, Serves::Grpc),
            listen(2, false, Serves::Metrics),
            listen(1, false, Serves::Http),
            listen(2, false, Serves::Metrics),
            listen(1, false, Serves::Metrics),
        ];
        let places = places(&given);
        let found: Vec<_> = places.iter().map(|(place, speaks)| (place.serves, *speaks)).collect();
        let metrics = (Serves::Metrics, Speaks::Plain);
        assert_eq!(found, [(Serves::All, Speaks::Either), metrics, metrics]);
    }
}
