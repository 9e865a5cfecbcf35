//! The client ports: gRPC and plain HTTP on one, with TLS or without.

use std::{net::SocketAddr, sync::Arc};

use http::{Request, Response, header::CONTENT_TYPE};
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

use crate::{Error, Handle, grpc, http as plain};

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
    let routes = grpc::routes(&handle).prepare();
    let serving = listeners.into_iter().map(|listener| {
        let (handle, routes) = (handle.clone(), routes.clone());
        let tls: Option<Arc<rustls::ServerConfig>> = tls.clone();
        let service = move |_: PeerInfo, request| answer(handle.clone(), routes.clone(), request);
        stdx::serve::listen(listener, tls, shutdown.clone(), service)
    });
    futures::future::join_all(serving).await;
    Ok(())
}

async fn answer(handle: Handle, routes: Routes, request: Request<Incoming>) -> Response<Body> {
    let kind = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return plain::answer(&handle, &request).await;
    }
    match routes.oneshot(request).await {
        Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(never) => match never {},
    }
}
