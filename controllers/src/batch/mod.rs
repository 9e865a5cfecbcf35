//! Workloads that end: Jobs, what starts them by the clock, and what clears them away.

pub(crate) mod cronjob;
pub(crate) mod job;
pub(crate) mod ttl_after_finished;
