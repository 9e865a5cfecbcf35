//! Counts calls as gRPC's own middleware does, under the same names: begun, ended with which code,
//! and their messages. A call whose client leaves before the end was canceled.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Frame;
use parking_lot::Mutex;
use prost_reflect::DescriptorPool;
use stdx::serve::BoxError;
use tonic::{Code, Status, body::Body};

use super::messages::Frames;

/// What is known of a method.
#[derive(Debug, Clone)]
struct Method {
    service: String,
    name: String,
    kind: &'static str,
}

/// Methods by the paths of their calls. What is not here is not counted: clients choose paths.
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the build has made them");
    let mut methods = HashMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => "unary",
                (false, true) => "server_stream",
                (true, false) => "client_stream",
                (true, true) => "bidi_stream",
            };
            let (service, name) = (service.full_name().to_owned(), method.name().to_owned());
            methods.insert(format!("/{service}/{name}"), Method { service, name, kind });
        }
    }
    methods
});

/// Calls of one method.
#[derive(Debug, Default)]
struct Calls {
    started: u64,
    handled: BTreeMap<&'static str, u64>,
    received: u64,
    sent: u64,
}

/// Metadata with the version of etcd's API that a client speaks.
const VERSION: &str = "client-api-version";
/// Versions that are counted by their names: clients choose them.
const VERSIONS: usize = 16;

/// All calls.
#[derive(Debug, Default)]
struct Counts {
    calls: BTreeMap<&'static str, Calls>,
    /// By whether they are streams, and by version.
    requests: BTreeMap<(&'static str, String), u64>,
    received_bytes: u64,
    sent_bytes: u64,
}

/// All calls; cloning shares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grpc {
    counts: Arc<Mutex<Counts>>,
}

impl Grpc {
    /// A call begins; `None` when it is of no method that is known.
    pub(crate) fn start(&self, path: &str, headers: &HeaderMap) -> Option<Call> {
        let (path, method) = METHODS.get_key_value(path)?;
        let version = headers.get(VERSION).and_then(|value| value.to_str().ok());
        let kind = if method.kind == "unary" { "unary" } else { "stream" };
        let mut counts = self.counts.lock();
        counts.calls.entry(path).or_default().started += 1;
        let mut key = (kind, version.unwrap_or("unknown").to_owned());
        if counts.requests.len() >= VERSIONS && !counts.requests.contains_key(&key) {
            key.1 = "other".to_owned();
        }
        *counts.requests.entry(key).or_default() += 1;
        Some(Call { grpc: self.clone(), path, code: Some(Code::Cancelled) })
    }

    /// Counts what passes one way of a call.
    fn pass(&self, path: &'static str, way: Way, frames: &mut Frames, piece: &[u8]) {
        let messages = frames.pass(piece);
        let counts = &mut *self.counts.lock();
        let calls = counts.calls.entry(path).or_default();
        let (count, bytes) = match way {
            Way::In => (&mut calls.received, &mut counts.received_bytes),
            Way::Out => (&mut calls.sent, &mut counts.sent_bytes),
        };
        *count += messages;
        *bytes += piece.len() as u64;
    }

    /// Writes all counts.
    pub(super) fn write(&self, text: &mut String) {
        let counts = self.counts.lock();
        let mut lines: [String; 4] = Default::default();
        let [started, handled, received, sent] = &mut lines;
        for (path, calls) in &counts.calls {
            let Some(Method { service, name, kind }) = METHODS.get(*path) else { continue };
            let labels =
                format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"");
            line(started, "started_total", &labels, calls.started);
            line(received, "msg_received_total", &labels, calls.received);
            line(sent, "msg_sent_total", &labels, calls.sent);
            for (code, count) in &calls.handled {
                let labels = format!("grpc_code=\"{code}\",{labels}");
                line(handled, "handled_total", &labels, *count);
            }
        }
        for ((name, help), lines) in [
            ("started_total", "Calls begun."),
            ("handled_total", "Calls ended, by their codes."),
            ("msg_received_total", "Messages of clients."),
            ("msg_sent_total", "Messages to clients."),
        ]
        .iter()
        .zip(&lines)
        {
            super::push(text, &format!("grpc_server_{name}"), "counter", help, lines);
        }
        let name = "etcd_server_client_requests_total";
        let line = |((kind, version), count): (&(&str, String), &u64)| {
            let version = version.replace(['"', '\\', '\n'], "");
            format!("{name}{{client_api_version=\"{version}\",type=\"{kind}\"}} {count}\n")
        };
        let lines: String = counts.requests.iter().map(line).collect();
        super::push(text, name, "counter", "Requests by the version of the client.", &lines);
        for (name, help, value) in [
            ("received", "Bytes of clients' calls.", counts.received_bytes),
            ("sent", "Bytes of answers to clients.", counts.sent_bytes),
        ] {
            let name = format!("etcd_network_client_grpc_{name}_bytes_total");
            super::push(text, &name, "counter", help, &format!("{name} {value}\n"));
        }
    }
}

/// A direction of a call's messages.
#[derive(Debug, Clone, Copy)]
enum Way {
    In,
    Out,
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    let written = writeln!(text, "grpc_server_{name}{{{labels}}} {value}");
    written.expect("writing to a String cannot fail");
}

/// A call under way.
pub(crate) struct Call {
    grpc: Grpc,
    path: &'static str,
    /// How it ends; `None` once that is counted.
    code: Option<Code>,
}

impl Call {
    /// Counts the messages of the request as they come.
    pub(crate) fn watch<B>(&self, request: Request<B>) -> Request<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (grpc, path, mut frames) = (self.grpc.clone(), self.path, Frames::default());
        request.map(|body| {
            Body::new(body.map_frame(move |frame: Frame<Bytes>| {
                if let Some(piece) = frame.data_ref() {
                    grpc.pass(path, Way::In, &mut frames, piece);
                }
                frame
            }))
        })
    }

    /// Counts the messages of the answer, and the call's end when it ends.
    pub(crate) fn follow(mut self, response: Response<Body>) -> Response<Body> {
        if let Some(status) = Status::from_header_map(response.headers()) {
            self.end(status.code());
            return response;
        }
        let mut frames = Frames::default();
        response.map(|body| {
            let watched = body.map_frame(move |frame: Frame<Bytes>| {
                if let Some(piece) = frame.data_ref() {
                    self.grpc.pass(self.path, Way::Out, &mut frames, piece);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(code(trailers));
                }
                frame
            });
            Body::new(watched)
        })
    }

    fn end(&mut self, code: Code) {
        if self.code.take().is_some() {
            let mut counts = self.grpc.counts.lock();
            let calls = counts.calls.entry(self.path).or_default();
            *calls.handled.entry(name(code)).or_default() += 1;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(code) = self.code {
            self.end(code);
        }
    }
}

fn code(trailers: &HeaderMap) -> Code {
    Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code())
}

/// Codes as Go names them.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
