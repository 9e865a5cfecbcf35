//! What the store says about itself to a scraper, under the names that etcd's alerts and
//! dashboards use.

use std::{fmt::Write, sync::atomic::Ordering};

use crate::{VERSION, node::Inner};

/// A number and what it means.
struct Sample {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: i64,
}

/// All metrics in the Prometheus text format.
pub(crate) fn text(inner: &Inner) -> String {
    let status = inner.consensus.status();
    let state = inner.state().load();
    let is_leader = status.role == consensus::Role::Leader;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let gauge = |name, help, value| Sample { name, kind: "gauge", help, value };
    let samples = [
        gauge(
            "etcd_server_has_leader",
            "Whether a leader is known.",
            status.leader.is_some().into(),
        ),
        gauge("etcd_server_is_leader", "Whether this member leads.", is_leader.into()),
        gauge(
            "etcd_server_proposals_committed_total",
            "Index of the last committed entry.",
            number(status.committed),
        ),
        gauge(
            "etcd_server_proposals_applied_total",
            "Index of the last applied entry.",
            number(status.applied),
        ),
        gauge(
            "etcd_server_quota_backend_bytes",
            "Size at which writes are refused.",
            inner.config.quota().unwrap_or(0),
        ),
        gauge(
            "etcd_mvcc_db_total_size_in_bytes",
            "Size of the database.",
            inner.size.total.load(Ordering::Relaxed),
        ),
        gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Size of what the database holds.",
            inner.size.in_use.load(Ordering::Relaxed),
        ),
        gauge("etcd_debugging_mvcc_current_revision", "The newest revision.", state.revision()),
        gauge(
            "etcd_debugging_mvcc_compact_revision",
            "The compacted revision.",
            state.compacted().max(0),
        ),
        gauge(
            "trireme_store_watched_ranges",
            "Ranges of keys that somebody watches.",
            i64::try_from(inner.machine.hub.groups()).unwrap_or(i64::MAX),
        ),
    ];
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        text.write_fmt(args).expect("writing to a String cannot fail");
    };
    for Sample { name, kind, help, value } in samples {
        line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    }
    line(format_args!(
        "# HELP etcd_server_version The version.\n# TYPE etcd_server_version gauge\n\
         etcd_server_version{{server_version=\"{VERSION}\"}} 1\n"
    ));
    text
}
