//! What this server counts: requests by verb, resource and code, how long they take, how many are running.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::LazyLock;
use std::time::Duration;

use crate::request_info::RequestInfo;

/// Upper bounds of the duration buckets, seconds.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The process's one set, registered at first use: several servers may live in one test process.
static SHARED: LazyLock<Metrics> = LazyLock::new(Metrics::register);

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    verb: String,
    group: String,
    version: String,
    resource: String,
    code: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Timed {
    verb: String,
    group: String,
    version: String,
    resource: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestKind {
    request_kind: &'static str,
}

/// The server's metrics.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    durations: Family<Timed, Histogram, fn() -> Histogram>,
    running: Family<RequestKind, Gauge>,
}

/// A running request; dropping it ends it.
pub struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// The metrics of this process.
    pub fn shared() -> Self {
        SHARED.clone()
    }

    fn register() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            running: Family::default(),
        };
        let mut registry = stdx::metrics::registry();
        let text = "Requests answered, by verb, resource and code";
        registry.register("apiserver_request", text, metrics.requests.clone());
        let text = "Time to answer requests that are no watches, seconds";
        registry.register("apiserver_request_duration_seconds", text, metrics.durations.clone());
        let text = "Requests that are being answered";
        registry.register("apiserver_current_inflight_requests", text, metrics.running.clone());
        metrics
    }

    /// Counts a request as running until the guard goes.
    pub fn begin(&self, info: &RequestInfo) -> Running {
        let reads = matches!(info.verb.as_str(), "get" | "list" | "watch" | "head");
        let request_kind = if reads { "readOnly" } else { "mutating" };
        let gauge = self.running.get_or_create(&RequestKind { request_kind }).clone();
        gauge.inc();
        Running(gauge)
    }

    /// Counts an answer. `what` is verb, group, version, resource.
    pub fn end(&self, what: (String, String, String, String), code: u16, took: Duration) {
        let (verb, group, version, resource) = what;
        let verb = verb.to_ascii_uppercase();
        if verb != "WATCH" {
            let timed = Timed {
                verb: verb.clone(),
                group: group.clone(),
                version: version.clone(),
                resource: resource.clone(),
            };
            self.durations.get_or_create(&timed).observe(took.as_secs_f64());
        }
        self.requests.get_or_create(&Request { verb, group, version, resource, code }).inc();
    }
}
