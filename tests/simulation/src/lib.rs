//! The store under deterministic simulation: whole clusters on one thread, in virtual time, over a
//! network that loses and disks that forget, from nothing but a seed.
//!
//! What runs is the store itself and all below it: its state machine on RocksDB, watches, leases,
//! openraft, our wire code over HTTP/2, snapshots. What is replaced is the world around it, through
//! the seams of `consensus::World` and `stdx::simulated`: the [`net`] between members, the [`disk`]
//! under the log, threads and chance. Each member is a runtime with a clock of its own
//! ([`member`]), which gets its time in steps of a millisecond.
//!
//! A run ([`run`]) follows a [`schedule`] that is made from the seed before anything happens. What
//! is seen on the way ([`evidence`]) is judged by [`INVARIANTS`] afterwards, so that each of them
//! can be tested with evidence of a lie.
//!
//! What it does not show: the log's own RocksDB and its thread, the system's sockets, TLS, and
//! the client ports; other tests do. The same seed gives the same schedule always. It gives the
//! same history almost: tokio wakes the waiters of a `watch` channel in an order that it draws from
//! a generator of its own, which cannot be seeded without `--cfg tokio_unstable`, and RocksDB
//! compacts in threads of its own. So a run that failed is printed with all that happened in it,
//! and may have to be repeated a few times.

mod clients;
mod disk;
pub mod evidence;
mod invariants;
mod member;
mod net;
pub mod schedule;
mod world;

pub use invariants::{INVARIANTS, Invariant};

use std::fmt;

use evidence::Evidence;
use schedule::Schedule;
use world::World;

/// Virtual milliseconds in which things go wrong, when nobody says otherwise.
pub const LASTS: u64 = 5_000;

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was to happen.
    pub schedule: Schedule,
    /// What did happen, line by line.
    pub log: Vec<String>,
    /// What was seen.
    pub evidence: Evidence,
    /// What speaks against which invariant.
    pub broken: Vec<String>,
}

/// Runs a seed.
pub fn run(seed: u64, lasts: u64) -> Report {
    let _simulated = stdx::simulated::begin(seed);
    let schedule = Schedule::of(seed, lasts);
    let (evidence, log) = World::new(seed, schedule.clone()).run();
    let mut broken: Vec<String> =
        evidence.stuck.iter().map(|what| format!("liveness: {what}")).collect();
    for invariant in INVARIANTS {
        let found = (invariant.broken)(&evidence);
        broken.extend(found.into_iter().map(|what| format!("{}: {what}", invariant.name)));
    }
    Report { seed, schedule, log, evidence, broken }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        write!(f, "{}", self.schedule)?;
        writeln!(f, "what happened:")?;
        self.log.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "what is wrong:")?;
        self.broken.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        write!(f, "repeat it: make sim SEEDS=1 FROM={}", self.seed)
    }
}
