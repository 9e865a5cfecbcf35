//! The store: etcd's keys, revisions, watches and leases, equal on all members by consensus, on
//! RocksDB; for its own process through a [`Handle`], for others through the etcd v3 API.
//!
//! ```text
//! grpc/, http ──▶ Handle ──▶ propose ──▶ consensus (log, one fsync per group)
//!                  │  ▲                      │ committed entries, in order
//!           range  │  │ answers              ▼
//!                  ▼  └───────────────── machine ──▶ state (index in memory, RocksDB, no WAL)
//!                state                       │ events
//!                                            ▼
//!                     watchers ◀──────── watch::Hub
//! ```
//!
//! Terms. A *revision* counts the writes of the whole store, from 1; all changes of one
//! transaction share it. A *version* is one value (or deletion) of one key. *Compacted* is the
//! revision below which only the newest version of every key is kept.
//!
//! It knows no Kubernetes.

mod access;
mod apply;
mod auth;
mod auto_compaction;
mod config;
mod corrupt;
mod dump;
mod error;
mod export;
#[cfg(test)]
mod fuzz;
mod gateway;
mod grpc;
mod handle;
mod hash;
mod http;
mod lease;
mod machine;
mod members;
mod metrics;
mod node;
mod propose;
mod quota;
mod reconfig;
mod request;
mod room;
mod serve;
pub mod snapshot;
mod state;
mod watch;

pub use access::Access;
pub use auth::AuthError;
pub use auto_compaction::AutoCompaction;
pub use config::{
    Config, DEFAULT_AUTH_TOKEN, DEFAULT_AUTH_TOKEN_TTL, DEFAULT_BCRYPT_COST, DEFAULT_CACHE_BYTES,
    DEFAULT_MAX_LEARNERS, DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_TXN_OPS,
    DEFAULT_PROGRESS_INTERVAL, DEFAULT_QUOTA_BYTES, DEFAULT_RANGE_BYTES, DEFAULT_RING_BYTES,
    DEFAULT_SLOW_APPLY, DEFAULT_SLOW_CALL,
};
pub use consensus::{Faults, Initial, Member, PeerTls, Role, Status};
pub use dump::dump_log;
pub use error::Error;
pub use handle::Handle;
pub use node::{start, start_on};
pub use serve::{Address, Listen, Serves, Serving, bind, serve, serve_on};
pub use watch::{WatchBatch, WatchEvent, WatchSpec, Watcher};

/// The etcd version whose API this is, as clients parse it.
pub const VERSION: &str = "3.7.1";

#[cfg(test)]
mod tests;
