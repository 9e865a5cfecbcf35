//! What every request passes, in order and in one place: panic catch, request info, audit id, time limit,
//! authentication, impersonation, authorization, dispatch. Local calls and HTTPS take the same way.

use api::status::Status;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stdx::serve::{Body, PeerInfo};

use crate::access::authenticate::{EXTRA_SPACE, has_extra_space};
use crate::endpoints;
use crate::identity::UserInfo;
use crate::negotiate::{Form, Offer};
use crate::request_info::RequestInfo;
use crate::respond;
use crate::rest::{self, Call};
use crate::server::Server;

/// Largest body of a request.
const BODY: usize = 3 << 20;
/// Most bytes of an unwanted body that are read and thrown away.
const THROWN_AWAY: usize = 16 << 20;
/// Longest wait for an unwanted body.
const PATIENCE: Duration = Duration::from_secs(2);
/// Header that names a request in logs and answers.
const AUDIT_ID: &str = "audit-id";

/// A request on its way through the chain.
pub struct Incoming {
    /// Method, URI, headers, and what the connection attached.
    pub parts: Parts,
    /// The body, as it comes.
    pub body: Body,
    /// Who is at the other end.
    pub peer: PeerInfo,
    /// Who a local caller is; `None` is to be found out.
    pub identity: Option<UserInfo>,
}

impl Incoming {
    /// A request from a connection.
    pub fn from_connection(peer: PeerInfo, request: Request<hyper::body::Incoming>) -> Self {
        let (mut parts, body) = request.into_parts();
        // Sessions belong to processes: only a call from inside can bind a Lease to this one.
        parts.headers.remove(crate::sessions::HEADER);
        let body = body.map_err(Into::into).boxed_unsync();
        Self { parts, body, peer, identity: None }
    }

    /// A request from inside this process.
    pub fn local(identity: UserInfo, request: Request<Bytes>) -> Self {
        let (parts, body) = request.into_parts();
        let body = stdx::serve::full(body);
        Self { parts, body, peer: PeerInfo::default(), identity: Some(identity) }
    }
}

/// Answers a request.
pub async fn serve(server: Arc<Server>, request: Incoming) -> Response<Body> {
    let started = Instant::now();
    let audit_id = audit_id(&request.parts.headers);
    let uri = &request.parts.uri;
    let info = RequestInfo::parse(&request.parts.method, uri.path(), uri.query());
    if info.is_resource
        && matches!(info.resource.as_str(), "watch" | "proxy")
        && info.name.is_empty()
    {
        return endpoints::no_target(&info);
    }
    let running = server.metrics.begin(&info);
    let limit = time_limit(&server, &info);
    let metrics =
        (info.verb.clone(), info.group.clone(), info.version.clone(), info.resource.clone());
    let headers = request.parts.headers.clone();
    let inner = AssertUnwindSafe(Box::pin(authenticated(server.clone(), request, info)));
    let mut response = match limit {
        Ok(None) => guarded(inner.catch_unwind().await, &headers),
        Ok(Some(limit)) => match tokio::time::timeout(limit, inner.catch_unwind()).await {
            Ok(outcome) => guarded(outcome, &headers),
            Err(_) => timed_out(),
        },
        Err(status) => respond::failure(Form::default(), &status),
    };
    let head = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&audit_id) {
        head.insert(AUDIT_ID, value);
    }
    head.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    drop(running);
    server.metrics.end(metrics, response.status().as_u16(), started.elapsed());
    response
}

/// The client's own audit id, or a new one.
fn audit_id(headers: &HeaderMap) -> String {
    let given = headers.get(AUDIT_ID).and_then(|value| value.to_str().ok());
    let given = given.filter(|text| text.len() <= 64 && !text.is_empty());
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

/// How long the request may take; watches and streams take as long as they like.
fn time_limit(server: &Server, info: &RequestInfo) -> Result<Option<Duration>, Status> {
    if info.long_running() {
        return Ok(None);
    }
    let longest = server.config.request_timeout;
    let Some(text) = info.query.get("timeout").filter(|text| !text.is_empty()) else {
        return Ok(Some(longest));
    };
    match go_duration(text) {
        Some(limit) if limit.is_zero() => Ok(Some(longest)),
        Some(limit) => Ok(Some(limit.min(longest))),
        None => Err(Status::bad_request("invalid timeout specified in the request URL")),
    }
}

/// A duration as Go writes it: `1m30s`, `500ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let seconds = match &unit[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * seconds;
        rest = &unit[end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

/// A panic becomes a 500 and a line in the log; the process goes on.
fn guarded(
    outcome: Result<Response<Body>, Box<dyn std::any::Any + Send>>,
    headers: &HeaderMap,
) -> Response<Body> {
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        tracing::error!(panic = text, "request handler panicked");
        let offer = Offer { protobuf: true, yaml: true, shapes: true, watch: false };
        let form = offer.choose(headers, None).unwrap_or_default();
        let text = "This request caused apiserver to panic. Look in the logs for details.";
        respond::failure(form, &Status::internal(text))
    })
}

/// 504, without kind and as plain text: that is how the original does it.
fn timed_out() -> Response<Body> {
    let text = "request did not complete within the allotted timeout";
    let body = serde_json::json!({"metadata": {}, "status": "Failure",
        "message": format!("Timeout: {text}"), "reason": "Timeout",
        "details": {}, "code": 504});
    respond::respond(504, "text/plain; charset=utf-8", stdx::serve::full(body.to_string()))
}

/// Finds out who asks, and on whose behalf.
async fn authenticated(
    server: Arc<Server>,
    request: Incoming,
    info: RequestInfo,
) -> Response<Body> {
    let Incoming { parts, body, peer, identity } = request;
    let form = error_form(&parts.headers);
    let user = match identity {
        Some(user) => Ok(user),
        None => server.access.authenticate(&parts, &peer).await,
    };
    let ignored = local_token_ignored(&parts, user.as_ref());
    let user = match user {
        Ok(user) => server.access.impersonate(user, &parts.headers, &info).await,
        Err(status) => Err(status),
    };
    let mut response = match user {
        Ok(user) => authorized(server, Authenticated { parts, body, peer, user }, info).await,
        Err(status) => {
            drain(body).await;
            respond::failure(form, &status)
        }
    };
    if ignored {
        respond::warn(&mut response, EXTRA_SPACE);
    }
    response
}

/// Whether somebody is anonymous only because of a blank too many.
fn local_token_ignored(parts: &Parts, user: Result<&UserInfo, &Status>) -> bool {
    user.is_ok_and(|user| user.name == crate::identity::ANONYMOUS) && has_extra_space(parts)
}

/// A request of somebody known.
pub struct Authenticated {
    /// Method, URI, headers, and what the connection attached.
    pub parts: Parts,
    /// The body, as it comes.
    pub body: Body,
    /// Who is at the other end.
    pub peer: PeerInfo,
    /// Who asks.
    pub user: UserInfo,
}

/// Asks whether it may be done, then does it.
async fn authorized(
    server: Arc<Server>,
    request: Authenticated,
    info: RequestInfo,
) -> Response<Body> {
    let form = error_form(&request.parts.headers);
    if let Err(status) = server.access.authorize(&request.user, &info).await {
        drain(request.body).await;
        return respond::failure(form, &status);
    }
    if !info.is_resource {
        drain(request.body).await;
        return endpoints::serve(server, request.parts, info).await;
    }
    match resource(server, request, info).await {
        Ok(response) => response,
        Err(status) => respond::failure(form, &status),
    }
}

/// The form of errors that come before there is a kind.
fn error_form(headers: &HeaderMap) -> Form {
    let offer = Offer { protobuf: true, yaml: true, shapes: true, watch: false };
    offer.choose(headers, None).unwrap_or_default()
}

/// Finds the kind and runs the verb.
async fn resource(
    server: Arc<Server>,
    request: Authenticated,
    info: RequestInfo,
) -> Result<Response<Body>, Status> {
    let kinds = server.kinds.load_full();
    let Authenticated { parts, body, peer, user } = request;
    if !kinds.has_group(&info.group) {
        drain(body).await;
        return Ok(endpoints::unknown_path());
    }
    let found = kinds.get(&info.group, &info.version, &info.resource);
    let checked = found.ok_or_else(no_such_resource).and_then(|kind| {
        check_shape(&parts.method, &info, &kind)?;
        check_segment(&info.name)?;
        Ok(kind)
    });
    let kind = match checked {
        Ok(kind) => kind,
        Err(status) => {
            drain(body).await;
            return Err(status);
        }
    };
    if info.subresource == "log" && asks_for_shape(&parts.headers) {
        let offer = Offer { protobuf: true, yaml: true, shapes: false, watch: false };
        offer.choose(&parts.headers, None)?;
    }
    if rest::subresource::streams(&info) {
        let request = Authenticated { parts, body, peer, user };
        return rest::subresource::stream(server, request, info, kind).await;
    }
    let offer = rest::offer(&kind, &info);
    let form = match offer.choose(&parts.headers, info.query.get("pretty")) {
        Ok(form) => form,
        Err(status) => {
            drain(body).await;
            let formed = names_media_type(&parts.headers);
            return if formed { Err(status) } else { Ok(endpoints::not_acceptable(&info)) };
        }
    };
    let body = read(body).await?;
    let warnings = Mutex::new(Vec::new());
    let headers = parts.headers;
    let call = Call { server, info, kind, user, headers, body, form, warnings };
    Ok(rest::serve(&call).await)
}

/// A name that can't be part of a path is none.
fn check_segment(name: &str) -> Result<(), Status> {
    let why = match name {
        "." => "may not be '.'",
        ".." => "may not be '..'",
        name if name.contains('%') => "may not contain '%'",
        _ => return Ok(()),
    };
    Err(Status::bad_request(&format!("Name parameter invalid: {name:?}: {why}")))
}

/// Whether somebody wants a table or metadata alone, which a log has not.
fn asks_for_shape(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|text| text.contains(";as="))
}

/// Whether a refusal speaks of media types (one like ours was asked for) or of representations.
fn names_media_type(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|text| text.contains("application/"))
}

/// Whether the verb exists on this path: scope, subresource, method.
fn check_shape(
    method: &http::Method,
    info: &RequestInfo,
    kind: &crate::kind::Kind,
) -> Result<(), Status> {
    let resource = &kind.resource;
    if info.verb.is_empty() || *method == http::Method::HEAD {
        return Err(rest::not_allowed());
    }
    if info.verb == "watch" && *method != http::Method::GET {
        return Err(rest::not_allowed());
    }
    if info.verb == "proxy" || (info.verb == "watch" && !info.subresource.is_empty()) {
        return Err(no_such_resource());
    }
    if !info.rest.is_empty() && info.subresource != "proxy" {
        return Err(no_such_resource());
    }
    if !info.subresource.is_empty() {
        let subresource = kind.subresource(&info.subresource).ok_or_else(no_such_resource)?;
        if resource.namespaced && info.namespace.is_empty() {
            return Err(no_such_resource());
        }
        let verb = if info.verb == "watch" { "get" } else { info.verb.as_str() };
        let proxied = matches!(info.subresource.as_str(), "proxy");
        if !proxied && !subresource.verbs.contains(&verb) {
            return Err(rest::not_allowed());
        }
        return Ok(());
    }
    let named = !matches!(info.verb.as_str(), "list" | "watch" | "create" | "deletecollection");
    if resource.namespaced && info.namespace.is_empty() && named {
        return Err(no_such_resource());
    }
    let has_name = named || (info.verb == "create" && !info.name.is_empty());
    if info.verb == "create" && has_name {
        return Err(rest::not_allowed());
    }
    if resource.namespaced && info.namespace.is_empty() && info.verb == "create" {
        return Err(rest::not_allowed());
    }
    if resource.namespaced && info.namespace.is_empty() && info.verb == "deletecollection" {
        return Err(rest::not_allowed());
    }
    if !resource.allows(&info.verb) {
        let none = !resource.verbs.iter().any(|verb| matches!(*verb, "get" | "list"));
        let lost = named && none && !info.name.is_empty();
        return Err(if lost { no_such_resource() } else { rest::not_allowed() });
    }
    let itself = resource.plural == "namespaces" && info.name == info.namespace;
    if !resource.namespaced && !info.namespace.is_empty() && !itself {
        return Err(no_such_resource());
    }
    Ok(())
}

/// 404 for a path in a known group that leads nowhere.
pub fn no_such_resource() -> Status {
    Status::new(404, "NotFound", "the server could not find the requested resource")
}

/// Reads a body; too much is 413, and the rest of it is thrown away.
pub async fn read(mut body: Body) -> Result<Bytes, Status> {
    let mut whole = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(&error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > THROWN_AWAY {
            break;
        }
        if total <= BODY {
            whole.extend_from_slice(&data);
        }
    }
    if total > BODY {
        let text = format!("Request entity too large: limit is {BODY}");
        return Err(Status::new(413, "RequestEntityTooLarge", &text));
    }
    Ok(whole.freeze())
}

/// Throws a body away: a connection with an unread body can't be used again.
async fn drain(mut body: Body) {
    let reading = async {
        let mut total = 0;
        while let Some(Ok(frame)) = body.frame().await {
            total += frame.data_ref().map_or(0, Bytes::len);
            if total > THROWN_AWAY {
                break;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, reading).await.is_err() {
        tracing::debug!("the body of a refused request did not come");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("1ns"), Some(Duration::from_nanos(1)));
        assert_eq!(go_duration("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(go_duration("abc"), None);
        assert_eq!(go_duration("5"), None);
    }
}
