//! Workloads that run for ever: Deployments and what they are made of, DaemonSets, StatefulSets.

pub(crate) mod deployment;
mod replicas;
pub(crate) use replicas::in_terminating_namespace;
pub(crate) mod replicaset;
pub(crate) mod replicationcontroller;
