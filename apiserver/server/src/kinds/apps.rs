//! Kinds of the group `apps`.

pub mod daemon_set;
pub mod deployment;
