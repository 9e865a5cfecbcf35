//! Binds Pods that have no node to the node that suits them best.
//!
//! Informers feed one state (cluster picture and queue) under one lock; one loop takes the next Pod, decides, counts
//! the Pod on its node at once ("assumes" it), and writes the binding in a task of its own. A binding that the API
//! server refuses is taken back and tried again: several schedulers at once can't overcommit a node.

mod actions;
mod cache;
mod config;
mod cycle;
mod diagnosis;
mod event;
mod framework;
mod node_info;
mod plugins;
mod pod_info;
mod preemption;
mod queue;
mod resources;
mod selector;
mod service;
mod state;
#[cfg(test)]
mod testing;
mod workloads;

pub use config::Config;
pub use plugins::PLUGINS;
pub use service::{Error, run, warm};
