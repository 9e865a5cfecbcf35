//! Everything about the Pods of this node: what to do for each ([`plan`]), doing it ([`worker`] and
//! its helpers), and what the API server is told ([`status`], [`writer`]).

pub(crate) mod admit;
pub(crate) mod amount;
pub(crate) mod backoff;
pub(crate) mod container;
pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod hooks;
pub(crate) mod host_port;
pub(crate) mod images;
pub(crate) mod kill;
pub(crate) mod memory;
pub(crate) mod observe;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod qos;
pub(crate) mod registry;
pub(crate) mod security;
pub(crate) mod seen;
pub(crate) mod service_env;
pub(crate) mod shared;
pub(crate) mod spec;
pub(crate) mod status;
pub(crate) mod steps;
pub(crate) mod termination;
pub(crate) mod wire;
pub(crate) mod worker;
pub(crate) mod writer;
