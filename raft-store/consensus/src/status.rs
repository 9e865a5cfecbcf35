//! What a member knows about itself and its cluster.

use crate::Member;

/// A snapshot of one member's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub id: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Current term.
    pub term: u64,
    /// Index of the last entry in its log.
    pub last_log: u64,
    /// Index of the last entry that it knows committed.
    pub committed: u64,
    /// Index of the last entry that its state machine has applied.
    pub applied: u64,
    /// What it is in this term.
    pub role: Role,
    /// Members as of the last applied entry or later.
    pub members: Vec<Member>,
}

/// What a member is in a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes proposals.
    Leader,
    /// Votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Only listens.
    Learner,
}

/// What comparing hashes of members' states has shown. It never becomes better again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Divergence {
    /// This member's state differs from a majority's: what it serves is wrong.
    Here,
    /// These members' states differ from the one that a majority has.
    Elsewhere(Vec<u64>),
    /// These members' states differ from the one here, and no majority is known to be equal.
    Split(Vec<u64>),
}
