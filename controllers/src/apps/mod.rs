//! Workloads that run for ever: Deployments and what they are made of, DaemonSets, StatefulSets.

pub(crate) mod daemonset;
pub(crate) mod deployment;
mod history;
pub(crate) mod replicas;

pub(crate) mod replicaset;
pub(crate) mod replicationcontroller;
pub(crate) mod statefulset;

pub(crate) use replicas::{in_terminating_namespace, nonzero};
