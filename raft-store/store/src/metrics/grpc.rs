//! Counts calls as gRPC's own middleware does, under the same names: begun, ended with which code,
//! and their messages. A call whose client leaves before the end was canceled.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Frame;
use parking_lot::RwLock;
use prost_reflect::DescriptorPool;
use stdx::serve::{Body as Answer, BoxError};
use tonic::{Code, Status, body::Body};

use super::{messages::Frames, sliced::Sliced};
use crate::room::Held;

/// What is known of a method.
#[derive(Debug, Clone)]
struct Method {
    service: String,
    name: String,
    kind: &'static str,
}

/// Methods, and their places by the paths of their calls. What is not here is not counted: clients choose paths.
struct Methods {
    all: Vec<Method>,
    by_path: HashMap<String, usize>,
}

static METHODS: LazyLock<Methods> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the build has made them");
    let mut all = Vec::new();
    let mut by_path = HashMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => "unary",
                (false, true) => "server_stream",
                (true, false) => "client_stream",
                (true, true) => "bidi_stream",
            };
            let (service, name) = (service.full_name().to_owned(), method.name().to_owned());
            by_path.insert(format!("/{service}/{name}"), all.len());
            all.push(Method { service, name, kind });
        }
    }
    Methods { all, by_path }
});

/// Calls of one method.
#[derive(Debug, Default)]
struct Calls {
    started: AtomicU64,
    /// By their codes.
    handled: [AtomicU64; CODES],
    received: AtomicU64,
    sent: AtomicU64,
}

/// How many codes gRPC has.
const CODES: usize = 17;
/// Metadata with the version of etcd's API that a client speaks.
const VERSION: &str = "client-api-version";
/// Versions that are counted by their names: clients choose them.
const VERSIONS: usize = 16;

/// Requests of one kind and version.
#[derive(Debug)]
struct Requests {
    kind: &'static str,
    version: String,
    count: AtomicU64,
}

/// All calls. Every one is counted here several times: nobody waits for anybody.
#[derive(Debug)]
struct Counts {
    /// By the places of their methods.
    calls: Vec<Calls>,
    requests: RwLock<Vec<Requests>>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

/// All calls; cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Grpc {
    counts: Arc<Counts>,
}

impl Default for Grpc {
    fn default() -> Self {
        let calls = METHODS.all.iter().map(|_| Calls::default()).collect();
        let (received_bytes, sent_bytes) = (AtomicU64::default(), AtomicU64::default());
        let requests = RwLock::default();
        Self { counts: Arc::new(Counts { calls, requests, received_bytes, sent_bytes }) }
    }
}

fn add(to: &AtomicU64, count: u64) {
    to.fetch_add(count, Ordering::Relaxed);
}

fn read(from: &AtomicU64) -> u64 {
    from.load(Ordering::Relaxed)
}

impl Counts {
    /// A client that speaks a version asks.
    fn request(&self, kind: &'static str, version: &str) {
        let is_it = |one: &&Requests| one.kind == kind && one.version == version;
        if let Some(known) = self.requests.read().iter().find(is_it) {
            return add(&known.count, 1);
        }
        let mut requests = self.requests.write();
        let version = if requests.len() < VERSIONS { version } else { "other" };
        let is_it = |one: &&Requests| one.kind == kind && one.version == version;
        match requests.iter().find(is_it) {
            Some(known) => add(&known.count, 1),
            None => requests.push(Requests { kind, version: version.to_owned(), count: 1.into() }),
        }
    }
}

impl Grpc {
    /// A call begins; `None` when it is of no method that is known.
    pub(crate) fn start(&self, path: &str, headers: &HeaderMap) -> Option<Call> {
        let method = *METHODS.by_path.get(path)?;
        let version = headers.get(VERSION).and_then(|value| value.to_str().ok());
        let kind = if METHODS.all[method].kind == "unary" { "unary" } else { "stream" };
        add(&self.counts.calls[method].started, 1);
        self.counts.request(kind, version.unwrap_or("unknown"));
        Some(Call { grpc: self.clone(), method, code: Some(Code::Cancelled) })
    }

    /// Counts what passes one way of a call.
    fn pass(&self, method: usize, way: Way, frames: &mut Frames, piece: &[u8]) {
        let calls = &self.counts.calls[method];
        let (count, bytes) = match way {
            Way::In => (&calls.received, &self.counts.received_bytes),
            Way::Out => (&calls.sent, &self.counts.sent_bytes),
        };
        add(count, frames.pass(piece));
        add(bytes, piece.len() as u64);
    }

    /// Writes all counts.
    pub(super) fn write(&self, text: &mut String) {
        let counts = &self.counts;
        let mut lines: [String; 4] = Default::default();
        let [started, handled, received, sent] = &mut lines;
        for (Method { service, name, kind }, calls) in METHODS.all.iter().zip(&counts.calls) {
            if read(&calls.started) == 0 {
                continue;
            }
            let labels =
                format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"");
            line(started, "started_total", &labels, read(&calls.started));
            line(received, "msg_received_total", &labels, read(&calls.received));
            line(sent, "msg_sent_total", &labels, read(&calls.sent));
            for (code, count) in (0..).zip(&calls.handled).filter(|(_, count)| read(count) > 0) {
                let labels = format!("grpc_code=\"{}\",{labels}", code_name(Code::from_i32(code)));
                line(handled, "handled_total", &labels, read(count));
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
        let line = |Requests { kind, version, count }: &Requests| {
            let version = version.replace(['"', '\\', '\n'], "");
            format!("{name}{{client_api_version=\"{version}\",type=\"{kind}\"}} {}\n", read(count))
        };
        let lines: String = counts.requests.read().iter().map(line).collect();
        super::push(text, name, "counter", "Requests by the version of the client.", &lines);
        for (name, help, value) in [
            ("received", "Bytes of clients' calls.", read(&counts.received_bytes)),
            ("sent", "Bytes of answers to clients.", read(&counts.sent_bytes)),
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
    method: usize,
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
        let (grpc, method, mut frames) = (self.grpc.clone(), self.method, Frames::default());
        request.map(|body| {
            Body::new(body.map_frame(move |frame: Frame<Bytes>| {
                if let Some(piece) = frame.data_ref() {
                    grpc.pass(method, Way::In, &mut frames, piece);
                }
                frame
            }))
        })
    }

    /// Counts the messages of the answer, and the call's end when it ends.
    pub(crate) fn follow(mut self, mut response: Response<Body>) -> Response<Answer> {
        let held = response.extensions_mut().remove::<Held>();
        if let Some(code) = code(response.headers()) {
            self.end(code);
            return response.map(|body| body.map_err(Into::into).boxed_unsync());
        }
        let mut frames = Frames::default();
        response.map(|body| {
            let watched = body.map_frame(move |frame: Frame<Bytes>| {
                if let Some(piece) = frame.data_ref() {
                    self.grpc.pass(self.method, Way::Out, &mut frames, piece);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(code(trailers).unwrap_or(Code::Unknown));
                }
                match &held {
                    Some(held) => frame.map_data(|piece| held.keep(piece)),
                    None => frame,
                }
            });
            Sliced::new(watched).map_err(Into::into).boxed_unsync()
        })
    }

    fn end(&mut self, code: Code) {
        if self.code.take().is_some() {
            add(&self.grpc.counts.calls[self.method].handled[code as usize], 1);
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

/// The code among headers or trailers, if it is there.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// Codes as Go names them.
fn code_name(code: Code) -> &'static str {
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
