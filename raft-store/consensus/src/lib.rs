//! Consensus: keeps one state machine equal on all members, on openraft, behind an interface of
//! our own so that nothing above knows which Raft it is.
//!
//! It knows nothing of keys and values. [`start`] opens the log, joins the other members and
//! returns a [`Handle`]; committed entries go to the [`StateMachine`].
//!
//! ```text
//! Handle::propose ─▶ propose ─▶ openraft ─▶ log (own RocksDB, one fsync per group)
//!        │ follower: forward ─▶ leader         │
//!        ▼                                     ▼
//!   reads (ReadIndex in batches)            adapter ─▶ StateMachine::apply
//! ```

mod adapter;
mod compaction;
mod config;
mod detector;
mod error;
mod faults;
mod forward;
#[cfg(test)]
mod fuzz;
mod handle;
mod joining;
mod log;
mod machine;
mod membership;
mod net;
mod node;
mod pacemaker;
mod propose;
mod pulse;
mod reads;
mod removal;
mod reserve;
mod runtime;
mod seed;
mod slow_disk;
mod snapshot;
mod status;
mod types;
mod view;
mod wire;
mod world;

pub use config::{
    Config, DEFAULT_ELECTION, DEFAULT_HEARTBEAT, DEFAULT_KEEP_ENTRIES, Initial, Member, PeerTls,
    cluster_id, member_id,
};
pub use error::Error;
pub use faults::Faults;
pub use handle::{Handle, WeakHandle};
pub use log::{Fsyncs, read_committed};
pub use machine::{Entry, LeaderService, Payload, StateMachine};
pub use node::{listen, start, start_on};
pub use propose::{MAX_PROPOSAL, PROPOSE_TIMEOUT};
pub use reserve::{Reserve, Stuck, is_full, storage_error};
pub use seed::seed;
pub use status::{Divergence, Role, Status};
pub use world::{Io, LogDisk, Network, Visit, World, Write};

#[cfg(test)]
mod tests;
