//! Limits on what may happen to Pods.

pub(crate) mod disruption;
