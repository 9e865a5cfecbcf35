//! Counts calls as gRPC's own middleware does, under the same names: begun, and ended with which
//! code. A call whose client leaves before the end was canceled.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Frame;
use parking_lot::Mutex;
use prost_reflect::DescriptorPool;
use tonic::{Code, Status, body::Body};

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
}

/// All calls; cloning shares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grpc {
    calls: Arc<Mutex<BTreeMap<&'static str, Calls>>>,
}

impl Grpc {
    /// A call begins; `None` when it is of no method that is known.
    pub(crate) fn start(&self, path: &str) -> Option<Call> {
        let (path, _) = METHODS.get_key_value(path)?;
        self.calls.lock().entry(path).or_default().started += 1;
        Some(Call { grpc: self.clone(), path, code: Some(Code::Cancelled) })
    }

    /// Writes all counts.
    pub(super) fn write(&self, text: &mut String) {
        let calls = self.calls.lock();
        let mut started = String::new();
        let mut handled = String::new();
        for (path, calls) in calls.iter() {
            let Some(Method { service, name, kind }) = METHODS.get(*path) else { continue };
            let labels =
                format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"");
            line(&mut started, "started_total", &labels, calls.started);
            for (code, count) in &calls.handled {
                let labels = format!("grpc_code=\"{code}\",{labels}");
                line(&mut handled, "handled_total", &labels, *count);
            }
        }
        for (name, help, lines) in [
            ("started_total", "Calls begun.", started),
            ("handled_total", "Calls ended, by their codes.", handled),
        ] {
            let head = "grpc_server_";
            let written =
                write!(text, "# HELP {head}{name} {help}\n# TYPE {head}{name} counter\n{lines}");
            written.expect("writing to a String cannot fail");
        }
    }
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
    /// Counts the call's end when its answer ends.
    pub(crate) fn follow(mut self, response: Response<Body>) -> Response<Body> {
        if let Some(status) = Status::from_header_map(response.headers()) {
            self.end(status.code());
            return response;
        }
        response.map(|body| {
            let watched = body.map_frame(move |frame: Frame<Bytes>| {
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
            let mut calls = self.grpc.calls.lock();
            *calls.entry(self.path).or_default().handled.entry(name(code)).or_default() += 1;
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
