//! Whole members and clusters of them, with their sockets, disks and clients.

mod cluster;
mod failures;
mod grpc;
