//! port-forward: a pair of SPDY streams (data, error) per connection, directly or in WebSocket messages; and the plain
//! pipe that the API server's proxies use.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use runtime::Runtime;
use std::collections::HashMap;
use std::sync::Arc;
use stdx::serve::Body;
use tokio::io::AsyncWriteExt;

use super::request::{Request, plain};
use super::spdy::{Connection, Stream};
use super::upgrade::{self, Protocol};
use super::{Target, websocket};

/// What the API server's proxies upgrade to: the bytes of one connection.
pub(super) const PIPE: &str = "trireme-pipe";

/// Answers a port-forward; it goes on after the answer.
pub(super) fn serve(request: Request, target: Target, runtime: Arc<dyn Runtime>) -> Response<Body> {
    let Some(protocol) = upgrade::choose(&request.headers) else {
        return plain(400, "unable to upgrade: a WebSocket or SPDY/3.1 upgrade is needed");
    };
    if matches!(protocol, Protocol::WebSocket { .. }) {
        return plain(400, "port-forward over WebSocket needs SPDY/3.1+portforward.k8s.io");
    }
    let (response, upgraded) = match upgrade::accept(request, &protocol) {
        Ok(accepted) => accepted,
        Err(response) => return response,
    };
    stdx::task::spawn("port-forward", async move {
        let Ok(upgraded) = upgraded.await else { return };
        let connection = match protocol {
            Protocol::Tunnel => Connection::new(websocket::tunnel(websocket::open(upgraded).await)),
            _ => Connection::new(hyper_util::rt::TokioIo::new(upgraded)),
        };
        pairs(connection, &target.sandbox, runtime).await;
    });
    response
}

/// Takes streams until the client goes; each pair becomes a connection.
async fn pairs(mut connection: Connection, sandbox: &str, runtime: Arc<dyn Runtime>) {
    let mut waiting: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = connection.accept().await {
        if stream.reply().await.is_err() {
            return;
        }
        let request = format!("{}/{}", stream.header("requestid"), stream.header("port"));
        let Some(other) = waiting.remove(&request) else {
            waiting.insert(request, stream);
            continue;
        };
        let (data, error) = match stream.header("streamtype") {
            "data" => (stream, other),
            _ => (other, stream),
        };
        let (sandbox, runtime) = (sandbox.to_owned(), runtime.clone());
        stdx::task::spawn("forwarded-connection", forward(data, error, sandbox, runtime));
    }
}

/// Carries one connection; what goes wrong is told on the error stream.
async fn forward(mut data: Stream, error: Stream, sandbox: String, runtime: Arc<dyn Runtime>) {
    let (sender, failed) = (data.sender(), error.sender());
    let port = data.header("port").to_owned();
    let carried = async {
        let number: u16 = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        let connected = runtime.port_forward(&sandbox, number).await;
        let stream = connected.map_err(|error| stdx::chain(&error))?;
        let (from, mut to) = tokio::io::split(stream);
        let upward = async {
            while let Some(bytes) = data.incoming.recv().await {
                to.write_all(&bytes).await?;
            }
            to.shutdown().await
        };
        let (up, down) = tokio::join!(upward, sender.send_all(from));
        match (up, down) {
            (Err(error), _) | (_, Err(error)) => tracing::debug!(%error, "forwarded connection"),
            _ => {}
        }
        Ok::<(), String>(())
    };
    if let Err(text) = carried.await {
        let text = format!("error forwarding port {port} to pod: {text}");
        let _ = failed.send(Bytes::from(text)).await;
        sender.finish().await;
    }
    failed.finish().await;
}

/// Answers a proxy's wish for a connection into a Pod.
pub(super) async fn pipe(
    request: Request,
    target: Target,
    port: u16,
    runtime: Arc<dyn Runtime>,
) -> Response<Body> {
    let mut stream = match runtime.port_forward(&target.sandbox, port).await {
        Ok(stream) => stream,
        Err(error) => return plain(502, &stdx::chain(&error)),
    };
    let mut response = Response::new(stdx::serve::empty());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PIPE));
    stdx::task::spawn("pod-pipe", async move {
        let Ok(upgraded) = request.upgrade.await else { return };
        let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
        let _ = tokio::io::copy_bidirectional(&mut upgraded, &mut stream).await;
    });
    response
}
