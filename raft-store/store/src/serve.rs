//! The client ports: gRPC and plain HTTP on one, with TLS or without.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use stdx::{
    Shutdown,
    serve::{Body, PeerInfo},
    tls::ServerTls,
};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::{Error, Handle, gateway, grpc, http as plain};

/// Where and how to serve.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Certificates; `None` is plain text.
    pub tls: Option<ServerTls>,
}

impl From<&crate::Config> for Serving {
    fn from(config: &crate::Config) -> Self {
        Self { listen: config.listen_client.clone(), tls: config.client_tls.clone() }
    }
}

/// Serves clients on all addresses until shutdown.
pub async fn serve(serving: Serving, handle: Handle, shutdown: Shutdown) -> Result<(), Error> {
    let mut listeners = Vec::with_capacity(serving.listen.len());
    for address in &serving.listen {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|error| {
            Error::Start(format!("listening for clients on {address}: {error}"))
        })?);
    }
    serve_on(listeners, serving.tls, handle, shutdown).await
}

/// Serves clients on sockets that are already listening, until shutdown.
pub async fn serve_on(
    listeners: Vec<TcpListener>,
    tls: Option<ServerTls>,
    handle: Handle,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let tls = tls.map(|files| ServerTls { alpn: vec!["h2", "http/1.1"], ..files }.load());
    let tls = tls.transpose().map_err(|error| Error::Start(stdx::chain(&error)))?;
    let routes = grpc::routes(&handle)?.prepare();
    let serving = listeners.into_iter().map(|listener| {
        let (handle, routes) = (handle.clone(), routes.clone());
        let tls: Option<Arc<rustls::ServerConfig>> = tls.clone();
        let service =
            move |peer, request| answer(handle.clone(), routes.clone(), peer, request);
        stdx::serve::listen(listener, tls, shutdown.clone(), service)
    });
    futures::future::join_all(serving).await;
    Ok(())
}

/// Most bytes of a request in JSON, beside those of the largest request in base64.
const JSON_OVERHEAD: usize = 1 << 20;

async fn answer(
    handle: Handle,
    routes: Routes,
    peer: PeerInfo,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let kind = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        request.extensions_mut().insert(peer);
        return match routes.oneshot(request).await {
            Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(never) => match never {},
        };
    }
    let mut response = if request.method() == Method::OPTIONS {
        Response::new(stdx::serve::empty())
    } else if request.uri().path().starts_with(gateway::PREFIX) {
        let limit = handle.inner.config.max_request_bytes * 2 + JSON_OVERHEAD;
        Box::pin(gateway::answer(routes, peer, request, limit)).await
    } else {
        plain::answer(&handle, &request).await
    };
    // Pages of any origin may ask, as etcd's default has it.
    for (name, value) in CORS {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

const CORS: &[(&str, &str)] = &[
    ("access-control-allow-headers", "accept, content-type, authorization"),
    ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("access-control-allow-origin", "*"),
];
