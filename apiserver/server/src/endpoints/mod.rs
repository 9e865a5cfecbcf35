//! Paths that are no resources: discovery, OpenAPI, health, metrics, version, keys of token issuers; and the
//! answers for paths that lead nowhere.

mod debug;
mod discovery;
pub mod health;
mod openapi;
mod openid;

use api::status::Status;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use serde_json::{Value, json};
use std::sync::Arc;
use stdx::serve::{Body, full};

use crate::negotiate::{Form, Offer, wishes};
use crate::request_info::RequestInfo;
use crate::respond;
use crate::rest;
use crate::server::Server;

/// Plain text, as Go's server names it.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a path that is no resource.
pub async fn serve(server: Arc<Server>, head: Parts, info: RequestInfo) -> Response<Body> {
    let path = info.path.clone();
    let trimmed = path.trim_matches('/');
    let parts: Vec<&str> = trimmed.split('/').collect();
    let request = Request { server, head, info };
    if let Some(response) = health::serve(&request, &parts).await {
        return response;
    }
    match parts[..] {
        [""] if path == "/" => request.root(),
        ["version"] => request.version(),
        ["metrics"] | ["metrics", "slis"] => metrics(),
        ["openapi", ..] => openapi::serve(&request, &path).unwrap_or_else(unknown_path),
        [".well-known", "openid-configuration"] => openid::configuration(&request),
        ["openid", "v1", "jwks"] => openid::jwks(&request),
        ["api" | "apis", ..] => discovery::serve(&request, &parts),
        ["version", ..] => request.fail(&crate::chain::no_such_resource()),
        _ => debug::serve(&request, &path).unwrap_or_else(unknown_path),
    }
}

/// A request with what it needs.
struct Request {
    server: Arc<Server>,
    head: Parts,
    info: RequestInfo,
}

impl Request {
    fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    fn method(&self) -> &Method {
        &self.head.method
    }

    /// An error in the form that the client asked for.
    fn fail(&self, status: &Status) -> Response<Body> {
        let offer = Offer { protobuf: true, yaml: true, shapes: true, watch: false };
        let form = offer.choose(self.headers(), None).unwrap_or_default();
        respond::failure(form, status)
    }

    /// 405 unless it is a GET.
    fn only_get(&self) -> Option<Response<Body>> {
        (*self.method() != Method::GET).then(|| self.fail(&rest::not_allowed()))
    }

    /// 406 unless the client takes one of these.
    fn only_accepting(&self, types: &[&str]) -> Option<Response<Body>> {
        let wishes = wishes(self.headers());
        let fits = wishes.iter().any(|wish| types.iter().any(|media| wish.allows(media)));
        (!fits).then(|| self.fail(&unacceptable(types)))
    }

    /// JSON that clients with gzip get compressed when it is large.
    fn json(&self, value: &Value) -> Response<Body> {
        let text = serde_json::to_vec(value).expect("a JSON value can be written");
        respond::respond_bytes(200, "application/json", text.into(), self.headers())
    }

    /// `/`: all paths that there are.
    fn root(&self) -> Response<Body> {
        let kinds = self.server.kinds.load();
        let mut paths: Vec<String> = ["/.well-known/openid-configuration", "/api", "/apis"]
            .map(str::to_owned)
            .into_iter()
            .collect();
        for kind in kinds.all() {
            let resource = &kind.resource;
            if resource.group.is_empty() {
                paths.push(format!("/api/{}", resource.version));
            } else {
                paths.push(format!("/apis/{}", resource.group));
                paths.push(format!("/apis/{}/{}", resource.group, resource.version));
            }
        }
        paths.extend(health::paths());
        let others = [
            "/metrics",
            "/metrics/slis",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/version",
        ];
        paths.extend(others.map(str::to_owned));
        paths.sort();
        paths.dedup();
        self.json(&json!({ "paths": paths }))
    }

    /// `/version`.
    fn version(&self) -> Response<Body> {
        if let Some(refusal) = self.only_get() {
            return refusal;
        }
        if let Some(refusal) = self.only_accepting(&["application/json"]) {
            return refusal;
        }
        // Unlike all else this one is indented, whoever asks.
        let text = serde_json::to_vec_pretty(&version()).expect("a JSON value can be written");
        respond::respond_bytes(200, "application/json", text.into(), self.headers())
    }
}

/// What `/version` tells: the API that is spoken, and this build.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "37",
        "emulationMajor": "1", "emulationMinor": "37",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "36",
        "gitVersion": "v1.37.2",
        "gitCommit": option_env!("TRIREME_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none (trireme is written in Rust)",
        "compiler": "gc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    })
}

/// The machine's architecture by the name that Go has for it.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn metrics() -> Response<Body> {
    let kind = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    respond::respond(200, kind, full(stdx::metrics::encode()))
}

/// 404 for a path outside the API.
pub fn unknown_path() -> Response<Body> {
    let mut response = respond::respond(404, TEXT, full("404 page not found\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// 500 for an old path that watches nothing in particular.
pub fn no_target(info: &RequestInfo) -> Response<Body> {
    let path = &info.path;
    text(
        500,
        format!(
            "Internal Server Error: {path:?}: failed to create RequestInfo: unable to determine kind and \
         namespace from url, {path}\n"
        ),
    )
}

/// 406 with the representations that there are.
fn unacceptable(types: &[&str]) -> Status {
    let text = format!("406: Not Acceptable\n\nAvailable representations: {}", types.join(", "));
    Status::new(406, "NotAcceptable", &text)
}

/// 406 for a resource.
pub fn not_acceptable(info: &RequestInfo) -> Response<Body> {
    let mut types =
        vec!["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
    if matches!(info.verb.as_str(), "list" | "watch") {
        types.push("application/json;stream=watch");
        types.push("application/vnd.kubernetes.protobuf;stream=watch");
    }
    respond::failure(Form::default(), &unacceptable(&types))
}

/// An answer of text.
fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = respond::respond(code, TEXT, full(text));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
