//! Passes a request on over a connection, and its answer back; an upgrade becomes a pipe.

use api::status::Status;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use stdx::serve::Body;

/// Headers that belong to one connection. An upgrade's own are put back where there is one.
const HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];
/// Headers that tell who asks: they are for this server alone.
const PRIVATE: [&str; 2] = ["authorization", "cookie"];

/// What a client sent, on its way to somewhere else.
pub(super) struct Passed {
    /// Method, headers, and the client's end of an upgrade.
    pub parts: Parts,
    /// The body.
    pub body: Body,
    /// Path and query at the other end.
    pub target: String,
    /// The other end's name.
    pub host: String,
}

/// Passes it on.
pub(super) async fn pass(to: SendRequest<Body>, passed: Passed) -> Result<Response<Body>, Status> {
    let mut to = to;
    let Passed { parts, body, target, host } = passed;
    let failed = |error: &dyn std::fmt::Display| {
        Status::new(503, "ServiceUnavailable", &format!("error trying to reach service: {error}"))
    };
    let upgrade = parts.headers.get(header::UPGRADE).cloned();
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = target.parse().map_err(|error| failed(&error))?;
    *request.headers_mut() = without_hops(&parts.headers);
    let headers = request.headers_mut();
    for name in PRIVATE {
        headers.remove(name);
    }
    headers.remove(header::HOST);
    headers.insert(header::HOST, host.parse().map_err(|error| failed(&error))?);
    if let Some(protocol) = &upgrade {
        headers.insert(header::UPGRADE, protocol.clone());
        headers.insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
    }
    let mut answer = to.send_request(request).await.map_err(|error| failed(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut head, body) = answer.into_parts();
        head.headers = without_hops(&head.headers);
        return Ok(Response::from_parts(head, body.map_err(Into::into).boxed_unsync()));
    }
    let there = hyper::upgrade::on(&mut answer);
    let mut client = Request::from_parts(parts, ());
    let here = hyper::upgrade::on(&mut client);
    stdx::task::spawn("passed-upgrade", async move {
        let (Ok(here), Ok(there)) = tokio::join!(here, there) else { return };
        let (mut here, mut there) = (TokioIo::new(here), TokioIo::new(there));
        // The end of either side ends both; there is nobody to tell about an error.
        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
        drop(to);
    });
    let (head, _) = answer.into_parts();
    Ok(Response::from_parts(head, stdx::serve::empty()))
}

fn without_hops(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in HOP {
        kept.remove(name);
    }
    kept
}
