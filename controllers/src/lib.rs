//! The controllers: loops that drive the cluster's state towards what the API objects ask for.
//!
//! A controller is one file (or folder) with a row in [`CONTROLLERS`]. Most are reconcilers:
//! informers name the keys of objects that may need work, a queue deduplicates them, and
//! `reconcile` reads caches, lets a pure `plan` decide, and writes. Nothing is remembered between
//! calls but the writes that the caches have not shown yet. The few that follow time itself (node
//! heartbeats, the owner graph) run their own loop. All writes go through the fenced client of the
//! leader's term, so that a replaced leader can't write.

mod config;
mod ctx;
mod error;
mod manager;
mod watch;

mod claims;
mod hash;
mod intstr;
mod owners;
mod pods;
mod selector;

mod apps;
mod batch;
mod certificates;
mod core;
mod gc;
mod network;
mod node;
mod policy;
mod rbac;
mod storage;

#[cfg(test)]
mod testing;

pub use config::{Config, Profile, Signing};
pub use error::Error;
pub use manager::{CONTROLLERS, run, warm};
