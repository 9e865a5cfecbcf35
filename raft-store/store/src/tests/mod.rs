//! Whole members and clusters of them, with their sockets, disks and clients.

mod auth;
mod cluster;
mod corruption;
mod failures;
mod gateway;
mod grpc;
mod membership;
mod memory;
mod oracles;
mod parity;
mod queues;
mod snapshots;
mod surface;
