//! Binds Pods that have no node to the node that suits them best.
//!
//! Informers feed one state (cluster picture and queue) under one lock; one loop takes the next
//! Pod, decides, counts the Pod on its node at once ("assumes" it), and writes the binding in a
//! task of its own. A binding that the API server refuses is taken back and tried again: several
//! schedulers at once can't overcommit a node.

mod actions;
pub mod cache;
pub mod config;
pub mod cycle;
pub mod diagnosis;
pub mod event;
pub mod framework;
pub mod node_info;
pub mod plugins;
pub mod pod_info;
pub mod preemption;
pub mod queue;
pub mod resources;
pub mod selector;
mod service;
pub mod state;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod volumes;
pub mod workloads;

pub use config::Config;
pub use plugins::PLUGINS;
pub use service::{Error, run, warm};
