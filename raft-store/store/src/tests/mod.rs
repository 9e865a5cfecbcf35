//! Whole members and clusters of them, with their sockets, disks and clients.

mod cluster;
mod failures;
mod gateway;
mod grpc;
mod queues;
mod oracles;
mod snapshots;
