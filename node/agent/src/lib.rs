//! The agent of one node: what upstream calls the kubelet.
//!
//! It registers its Node, tells that it lives, watches the Pods bound to it and makes the runtime
//! run exactly those. Definitions: a *worker* is the task of one Pod; the *registry* finds it; a
//! *plan* is what a worker does next, a pure function of the Pod, of what the runtime *has seen*,
//! and of the worker's memory.
//!
//! The agent keeps nothing on disk that it could not lose: a new one finds sandboxes and containers
//! in the runtime by their labels and goes on without restarting anything. Killing it touches no
//! Pod.
//!
//! Not here yet: eviction under pressure, in-place resize, devices, volumes beyond those of
//! `volume`, user namespaces, and environment variables from files.

mod addresses;
mod clock;
mod config;
mod ctx;
mod error;
mod names;
mod node;
mod orphans;
mod pod;
mod run;
pub mod server;
mod statics;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod threshold;
mod volume;

pub use config::{Config, NetworkConfig, Profile};
pub use error::{Error, Result};
pub use pod::host_port::{HostPort, HostPorts};
pub use run::{Links, run};
pub use threshold::Threshold;
