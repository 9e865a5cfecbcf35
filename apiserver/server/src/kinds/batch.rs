//! Kinds of the group `batch`.

pub mod job;
