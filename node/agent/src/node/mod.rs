//! The node as the API server knows it: registered once, its state told on change, its life told by
//! a Lease.

pub(crate) mod conditions;
pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod object;
pub(crate) mod register;
pub(crate) mod report;
pub(crate) mod routes;
