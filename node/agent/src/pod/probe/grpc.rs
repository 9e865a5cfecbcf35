//! The gRPC health check (`grpc.health.v1.Health/Check`), written out: two tiny messages over
//! HTTP/2.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// `ServingStatus.SERVING`.
const SERVING: u8 = 1;
/// Names of the other statuses.
const STATUSES: &[&str] = &["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// Tag of the only field of the request (a string).
const SERVICE: u8 = 0x0a;
/// Tag of the only field of the answer (an enum).
const STATUS: u8 = 0x08;

/// Checks once; `Err` is the text for the event.
pub(super) async fn check(
    ip: IpAddr,
    port: u16,
    service: &str,
    timeout: Duration,
) -> Result<(), String> {
    match tokio::time::timeout(timeout, attempt(ip, port, service)).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "timeout: failed to connect service \"{ip}:{port}\" within {}s: context deadline exceeded",
            timeout.as_secs()
        )),
    }
}

/// The request: a length-prefixed message with the name of the service.
fn message(service: &str) -> Bytes {
    let mut body = BytesMut::new();
    if !service.is_empty() {
        body.put_u8(SERVICE);
        // Names of services are far shorter than 128 bytes; longer ones need a longer length.
        let mut length = service.len();
        while length >= 0x80 {
            body.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        body.put_u8(u8::try_from(length).unwrap_or(0));
        body.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(body.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(body.len()).unwrap_or(0));
    framed.put_slice(&body);
    framed.freeze()
}

/// Connects and asks.
async fn attempt(ip: IpAddr, port: u16, service: &str) -> Result<(), String> {
    let plain = |error: &dyn std::fmt::Display| {
        format!("failed to connect service \"{ip}:{port}\": {error}")
    };
    let stream = TcpStream::connect((ip, port)).await.map_err(|error| plain(&error))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| plain(&error))?;
    let driver = stdx::task::spawn("probe-grpc", async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "probe connection ended early");
        }
    });
    let host = std::net::SocketAddr::new(ip, port);
    let request = http::Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .header(http::header::USER_AGENT, "kube-probe/1.37")
        .body(Full::new(message(service)))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| plain(&error));
    let result = match answer {
        Ok(answer) => verdict(answer).await,
        Err(error) => Err(error),
    };
    driver.abort();
    result
}

/// Reads the answer.
async fn verdict(answer: http::Response<hyper::body::Incoming>) -> Result<(), String> {
    let early = answer.headers().get("grpc-status").cloned();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
    let code = early.or_else(|| body.trailers().and_then(|all| all.get("grpc-status").cloned()));
    let code = code.as_ref().and_then(|code| code.to_str().ok()).unwrap_or("2").to_owned();
    if code != "0" {
        return Err(format!("service unhealthy (responded with gRPC status {code})"));
    }
    let bytes = body.to_bytes();
    let status = match bytes.get(5..).unwrap_or_default() {
        [STATUS, status, ..] => *status,
        _ => 0,
    };
    match status {
        SERVING => Ok(()),
        other => {
            let name = STATUSES.get(usize::from(other)).copied().unwrap_or("UNKNOWN");
            Err(format!("service unhealthy (responded with \"{name}\")"))
        }
    }
}
