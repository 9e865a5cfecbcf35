//! What a client port answers to plain HTTP: whether this member is well, which version it is,
//! and its metrics.

use std::sync::atomic::Ordering;

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use proto::etcdserverpb::{AlarmType, RangeRequest};
use stdx::serve::{Body, full};

use crate::{Handle, VERSION, metrics};

/// Answers a request that is not gRPC.
pub(crate) async fn answer<B>(handle: &Handle, request: &Request<B>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned());
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match request.uri().path() {
        "/health" => health(handle, &query).await,
        "/livez" => checks(handle, &query, LIVE).await,
        "/readyz" => checks(handle, &query, READY).await,
        "/version" => {
            let (major, _) = VERSION.rsplit_once('.').unwrap_or((VERSION, ""));
            let cluster = format!("{major}.0");
            let version = format!(
                "{{\"etcdserver\":\"{VERSION}\",\"etcdcluster\":\"{cluster}\",\
                 \"storage\":\"{cluster}\"}}"
            );
            json(version)
        }
        "/debug/vars" => json(metrics::vars::text(&handle.inner)),
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics::text(&handle.inner));
            let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        path => {
            let live = path.strip_prefix("/livez/").filter(|name| LIVE.contains(name));
            let ready = path.strip_prefix("/readyz/").filter(|name| READY.contains(name));
            match live.or(ready) {
                Some(name) => checks(handle, &query, &[name]).await,
                None => not_found(),
            }
        }
    }
}

fn json(body: String) -> Response<Body> {
    let mut response = text(StatusCode::OK, body);
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Asked under a name that is not this member's.
pub(crate) fn misdirected(host: &str) -> Response<Body> {
    let advice = "ask with https, or name the host in --host-whitelist";
    text(StatusCode::MISDIRECTED_REQUEST, format!("host {host:?} is not served here: {advice}\n"))
}

/// Asked in JSON with a certificate that names a user. The text is etcd's.
pub(crate) fn refused_name() -> Response<Body> {
    let name = "CommonName of client sending a request against gateway";
    text(StatusCode::BAD_REQUEST, format!("{name} will be ignored and not used as expected\n"))
}

/// Nothing is there.
pub(crate) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
}

const LIVE: &[&str] = &["serializable_read"];
const READY: &[&str] =
    &["data_corruption", "serializable_read", "linearizable_read", "non_learner"];

/// What a query says.
#[derive(Default)]
struct Query {
    exclude: Vec<String>,
    is_serializable: bool,
    is_verbose: bool,
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for part in text.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name {
                "exclude" => query.exclude.push(value.to_owned()),
                "serializable" => query.is_serializable = value == "true",
                "verbose" => query.is_verbose = true,
                _ => {}
            }
        }
        query
    }
}

async fn health(handle: &Handle, query: &Query) -> Response<Body> {
    let reason = unhealthy(handle, query).await;
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let metrics = &handle.inner.metrics;
    let counter = if reason.is_none() { &metrics.well } else { &metrics.unwell };
    counter.fetch_add(1, Ordering::Relaxed);
    let health = if reason.is_none() { "true" } else { "false" };
    let reason = serde_json::Value::from(reason.unwrap_or_default());
    text(status, format!("{{\"health\":\"{health}\",\"reason\":{reason}}}"))
}

async fn unhealthy(handle: &Handle, query: &Query) -> Option<String> {
    let alarms = handle.inner.state().load().alarms.read().list(AlarmType::None);
    for alarm in alarms {
        let name = alarm.alarm().as_str_name();
        if !query.exclude.iter().any(|excluded| excluded == name) {
            return Some(format!("ALARM {name}"));
        }
    }
    if !handle.inner.has_leader() {
        return Some("RAFT NO LEADER".to_owned());
    }
    match read(handle, query.is_serializable).await {
        Ok(()) => None,
        Err(error) => Some(format!("RANGE ERROR:{error}")),
    }
}

async fn read(handle: &Handle, serializable: bool) -> Result<(), String> {
    let request = RangeRequest {
        key: bytes::Bytes::from_static(b"health"),
        serializable,
        limit: 1,
        ..RangeRequest::default()
    };
    handle.range(request).await.map(|_| ()).map_err(|error| error.to_string())
}

async fn checks(handle: &Handle, query: &Query, names: &[&str]) -> Response<Body> {
    let mut lines = String::new();
    let mut is_well = true;
    for name in names {
        if query.exclude.iter().any(|excluded| excluded == name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check(handle, name).await {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                is_well = false;
                lines.push_str(&format!("[-]{name} failed: {reason}\n"));
            }
        }
    }
    if !is_well {
        return text(StatusCode::SERVICE_UNAVAILABLE, lines);
    }
    text(StatusCode::OK, if query.is_verbose { lines + "ok\n" } else { "ok\n".to_owned() })
}

async fn check(handle: &Handle, name: &str) -> Result<(), String> {
    match name {
        "serializable_read" => read(handle, true).await,
        "linearizable_read" => read(handle, false).await,
        "non_learner" if handle.inner.is_learner() => Err("not supported for learner".to_owned()),
        "data_corruption" => {
            let alarms = handle.inner.state().load().alarms.read().list(AlarmType::Corrupt);
            match alarms.first() {
                Some(alarm) => Err(format!("alarm activated: {}", alarm.alarm().as_str_name())),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
