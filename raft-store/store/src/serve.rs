//! The client ports: gRPC and plain HTTP on one, with TLS or without.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::FutureExt;
use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use stdx::{
    Shutdown,
    serve::{Body, PeerInfo},
    tls::{Limits, ServerTls},
};
use tokio::net::{TcpListener, UnixListener};

use crate::{
    Error, Handle, gateway,
    grpc::{self, Routes},
    http as plain,
};

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Of a network.
    Tcp(SocketAddr),
    /// Of the file system. What is left there of an earlier run is removed.
    Unix(PathBuf),
}

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
    let tls = load(serving.tls, &serving.limits)?;
    let routes = grpc::routes(&handle)?;
    let mut running = Vec::with_capacity(serving.listen.len());
    for Listen { address, secure, serves } in serving.listen {
        let tls = match (secure, &tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.clone()),
            (true, None) => return Err(Error::Start("TLS without a certificate".to_owned())),
        };
        let site = Site { handle: handle.clone(), routes: routes.clone(), serves };
        let shutdown = shutdown.clone();
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await;
                let listener = listener.map_err(|error| cannot(&address.to_string(), &error))?;
                running.push(site.run(listener, tls, shutdown).boxed());
            }
            Address::Unix(path) => {
                let listener = listen_at(&path)
                    .map_err(|error| cannot(&path.display().to_string(), &error))?;
                running.push(site.run(listener, tls, shutdown).boxed());
            }
        }
    }
    futures::future::join_all(running).await;
    Ok(())
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

fn cannot(place: &str, error: &io::Error) -> Error {
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

/// Listens on a socket of the file system, in place of one that an earlier run has left.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        fs::remove_file(path)?;
    }
    UnixListener::bind(path)
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
        tls: Option<Arc<rustls::ServerConfig>>,
        shutdown: Shutdown,
    ) {
        let service = move |peer, request| self.clone().answer(peer, request);
        stdx::serve::listen(listener, tls, shutdown, service).await;
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
        let grpc = &self.handle.inner.metrics.grpc;
        let counted = grpc.start(request.uri().path(), request.headers());
        request.extensions_mut().insert(peer);
        let request = match &counted {
            Some(call) => call.watch(request),
            None => request.map(tonic::body::Body::new),
        };
        let response = self.routes.call(request).await;
        match counted {
            Some(call) => call.follow(response),
            None => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        }
    }

    async fn plain(self, peer: PeerInfo, request: Request<Incoming>) -> Response<Body> {
        let mut response = if request.method() == Method::OPTIONS {
            Response::new(stdx::serve::empty())
        } else if request.uri().path().starts_with(gateway::PREFIX) {
            let limit = self.handle.inner.config.max_request_bytes * 2 + JSON_OVERHEAD;
            Box::pin(gateway::answer(self.routes, peer, request, limit)).await
        } else {
            plain::answer(&self.handle, &request).await
        };
        // Pages of any origin may ask, as etcd's default has it.
        for (name, value) in CORS {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        response
    }
}

fn is_about_health(path: &str) -> bool {
    let first = path.split('/').nth(1);
    first.is_some_and(|first| ["metrics", "health", "livez", "readyz"].contains(&first))
}

/// Most bytes of a request in JSON, beside those of the largest request in base64.
const JSON_OVERHEAD: usize = 1 << 20;

const CORS: &[(&str, &str)] = &[
    ("access-control-allow-headers", "accept, content-type, authorization"),
    ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("access-control-allow-origin", "*"),
];
