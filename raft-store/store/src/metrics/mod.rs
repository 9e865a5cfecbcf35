//! What the store says about itself to a scraper, under the names that etcd's alerts and
//! dashboards use.

mod grpc;
mod leases;
mod messages;
#[cfg(test)]
pub(crate) mod names;
mod process;
mod sliced;
pub(crate) mod vars;

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{VERSION, node::Inner};
use grpc::Grpc;
pub(crate) use leases::Leases;

/// What is counted beside what is simply known.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Calls.
    pub(crate) grpc: Grpc,
    /// The last leader seen.
    leader: Mutex<Option<u64>>,
    leader_changes: AtomicU64,
    /// Looks at `/health` that found this member well.
    pub(crate) well: AtomicU64,
    /// Looks at `/health` that did not.
    pub(crate) unwell: AtomicU64,
    /// Streams of watches that are open.
    pub(crate) watch_streams: AtomicU64,
    /// Proposals that consensus has not taken.
    pub(crate) proposals_failed: AtomicU64,
    /// Reads for which nobody could say how far the log is.
    pub(crate) reads_failed: AtomicU64,
    /// Reads that found no memory for their answers at first.
    pub(crate) reads_waited: AtomicU64,
    /// Learners that were made voters here.
    pub(crate) promoted: AtomicU64,
}

/// One more.
pub(crate) fn count_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// Takes note of who leads.
    pub(crate) fn see_leader(&self, leader: Option<u64>) {
        let mut last = self.leader.lock();
        if leader.is_some() && *last != leader {
            *last = leader;
            count_one(&self.leader_changes);
        }
    }
}

/// A number and what it means.
struct Sample {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: f64,
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Sample {
    Sample { name, kind: "gauge", help, value }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Sample {
    Sample { name, kind: "counter", help, value: number(value) }
}

/// A whole number as a sample's value; beyond 2^53 it loses what nobody looks at.
#[allow(clippy::cast_precision_loss, reason = "samples are floating point")]
fn number(value: u64) -> f64 {
    value as f64
}

fn signed(value: i64) -> f64 {
    number(u64::try_from(value).unwrap_or(0))
}

/// All metrics in the Prometheus text format.
pub(crate) fn text(inner: &Inner) -> String {
    let mut text = String::new();
    let samples = server(inner).into_iter().chain(database(inner)).chain(process::samples());
    for Sample { name, kind, help, value } in samples {
        push(&mut text, name, kind, help, &format!("{name} {value}\n"));
    }
    let (major, _) = VERSION.rsplit_once('.').unwrap_or((VERSION, ""));
    let id = format!("{:x}", inner.consensus.id());
    for (name, help, label, value) in [
        ("etcd_server_version", "The version.", "server_version", VERSION),
        ("etcd_cluster_version", "The cluster's version.", "cluster_version", major),
        ("etcd_server_id", "This member's id in hexadecimal.", "server_id", &id),
    ] {
        let written = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{{label}=\"{value}\"}} 1"
        );
        written.expect("writing to a String cannot fail");
    }
    known_peers(inner, &mut text);
    fsyncs(&inner.consensus.fsyncs(), &mut text);
    inner.machine.lessor.counts.write(&mut text);
    inner.metrics.grpc.write(&mut text);
    text
}

/// Adds what a name has, under its head.
fn push(text: &mut String, name: &str, kind: &str, help: &str, lines: &str) {
    let written = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
    written.expect("writing to a String cannot fail");
}

/// The other members.
fn known_peers(inner: &Inner, text: &mut String) {
    let (name, here) = ("etcd_network_known_peers", inner.consensus.id());
    let members = inner.consensus.status().members.into_iter().map(|member| member.id);
    let line = |id| format!("{name}{{Local=\"{here:x}\",Remote=\"{id:x}\"}} 1\n");
    let lines: String = members.filter(|id| *id != here).map(line).collect();
    push(text, name, "gauge", "Members that this one knows.", &lines);
}

/// How long the log's disk takes, as a histogram.
fn fsyncs(fsyncs: &consensus::Fsyncs, text: &mut String) {
    let name = "etcd_disk_wal_fsync_duration_seconds";
    let mut below = 0;
    let mut lines = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        lines.write_fmt(args).expect("writing to a String cannot fail");
    };
    for (at, count) in fsyncs.counts.iter().enumerate() {
        below += count;
        let bound = f64::from(1_u32 << at) / 1000.0;
        line(format_args!("{name}_bucket{{le=\"{bound}\"}} {below}\n"));
    }
    let all = below + fsyncs.slower;
    line(format_args!("{name}_bucket{{le=\"+Inf\"}} {all}\n"));
    line(format_args!("{name}_sum {}\n{name}_count {all}\n", fsyncs.total.as_secs_f64()));
    push(text, name, "histogram", "How long writes of the log took.", &lines);
}

fn server(inner: &Inner) -> Vec<Sample> {
    let status = inner.consensus.status();
    let is = |holds: bool| if holds { 1.0 } else { 0.0 };
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let has_leader = is(inner.has_leader());
    let is_leader = is(status.role == consensus::Role::Leader);
    let is_learner = is(inner.is_learner());
    let pending = process::count(inner.machine.pending.len());
    let changes = count(&inner.metrics.leader_changes);
    let failed = count(&inner.metrics.proposals_failed);
    let reads_failed = count(&inner.metrics.reads_failed);
    let promoted = count(&inner.metrics.promoted);
    let committed = number(status.committed);
    let applied = number(status.applied);
    let quota = signed(inner.config.quota().unwrap_or(0));
    vec![
        gauge("etcd_server_has_leader", "Whether a leader is known.", has_leader),
        gauge("etcd_server_is_leader", "Whether this member leads.", is_leader),
        gauge("etcd_server_is_learner", "Whether this member only listens.", is_learner),
        counter("etcd_server_leader_changes_seen_total", "Leaders seen.", changes),
        gauge("etcd_server_proposals_committed_total", "Last committed entry.", committed),
        gauge("etcd_server_proposals_applied_total", "Last applied entry.", applied),
        gauge("etcd_server_proposals_pending", "Proposals without an answer yet.", pending),
        gauge("etcd_server_quota_backend_bytes", "Size at which writes are refused.", quota),
        counter("etcd_server_proposals_failed_total", "Proposals not taken.", failed),
        counter("etcd_server_read_indexes_failed_total", "Reads not settled.", reads_failed),
        counter("etcd_server_learner_promote_successes", "Learners made voters.", promoted),
        counter("etcd_server_health_success", "Health found good.", count(&inner.metrics.well)),
        counter("etcd_server_health_failures", "Health found bad.", count(&inner.metrics.unwell)),
    ]
}

fn database(inner: &Inner) -> Vec<Sample> {
    let state = inner.state().load();
    let hub = &inner.machine.hub;
    let (puts, deletes) = hub.counts();
    let put_bytes = number(hub.put_bytes());
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (reads, txns) = (load(&state.counts.ranges), load(&state.counts.txns));
    let swept = load(&state.counts.swept);
    let keys = process::count(state.index.keys());
    let streams = number(load(&inner.metrics.watch_streams));
    let total = signed(inner.size.total.load(Ordering::Relaxed));
    let in_use = signed(inner.size.in_use.load(Ordering::Relaxed));
    let revision = signed(state.revision());
    let compacted = signed(state.compacted());
    let auth = number(state.auth.read().revision());
    let watchers = process::count(hub.watchers());
    let ranges = process::count(hub.groups());
    let answers = process::count(inner.rooms.taken());
    let waited = load(&inner.metrics.reads_waited);
    vec![
        gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the database.", total),
        gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Size of what it holds.", in_use),
        counter("etcd_mvcc_put_total", "Keys put here since the start.", puts),
        counter("etcd_mvcc_delete_total", "Keys deleted here since the start.", deletes),
        counter("etcd_mvcc_range_total", "Ranges read here since the start.", reads),
        counter("etcd_mvcc_txn_total", "Transactions of several operations.", txns),
        gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes put here.", put_bytes),
        gauge("etcd_debugging_mvcc_keys_total", "Keys.", keys),
        counter("etcd_debugging_mvcc_db_compaction_keys_total", "Versions removed.", swept),
        gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.", streams),
        counter("etcd_debugging_mvcc_events_total", "Changes told to watches.", puts + deletes),
        gauge("etcd_debugging_mvcc_current_revision", "The newest revision.", revision),
        gauge("etcd_debugging_mvcc_compact_revision", "The compacted revision.", compacted),
        gauge("etcd_debugging_mvcc_watcher_total", "Watches.", watchers),
        gauge("etcd_debugging_auth_revision", "Changes of users and roles.", auth),
        gauge("trireme_store_watched_ranges", "Ranges that somebody watches.", ranges),
        gauge("trireme_store_range_bytes", "Memory of large answers under way.", answers),
        counter("trireme_store_ranges_waited_total", "Reads that waited for memory.", waited),
    ]
}
