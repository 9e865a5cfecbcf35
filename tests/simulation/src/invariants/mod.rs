//! What must hold in every run, whatever happens: one file and one row each.

mod election_safety;
mod leader_completeness;
mod lease_expiry;
mod linearizable_reads;
mod log_matching;
mod membership;
mod monotonic_revisions;
mod state_machine_safety;
mod watches;

use crate::evidence::Evidence;

/// One thing that must hold.
pub struct Invariant {
    /// What it is called.
    pub name: &'static str,
    /// What speaks against it.
    pub broken: fn(&Evidence) -> Vec<String>,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant { name: "election safety", broken: election_safety::broken },
    Invariant { name: "log matching", broken: log_matching::broken },
    Invariant { name: "leader completeness", broken: leader_completeness::broken },
    Invariant { name: "state machine safety", broken: state_machine_safety::broken },
    Invariant { name: "linearizable reads", broken: linearizable_reads::broken },
    Invariant { name: "watches without gap, reorder or double", broken: watches::broken },
    Invariant { name: "monotonic revisions", broken: monotonic_revisions::broken },
    Invariant { name: "lease expiry", broken: lease_expiry::broken },
    Invariant { name: "membership", broken: membership::broken },
];
