//! Wire types: the etcd v3 API, as clients know it, and the protocol of members among
//! themselves. Generated from `protos/`, because names and numbers there are the contract.
//!
//! Every `bytes` field is a shared [`bytes::Bytes`]: decoding a request copies nothing.
#![allow(clippy::all, clippy::excessive_nesting, clippy::too_many_lines, reason = "generated")]

/// Keys and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Users, roles and permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// Cluster attributes that travel through the log.
pub mod membershippb {
    tonic::include_proto!("membershippb");
}

/// The etcd v3 services and the store's log payload
/// ([`InternalRaftRequest`](etcdserverpb::InternalRaftRequest)).
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// The lock service.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// The election service.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// `grpc.health.v1`.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// Consensus among members.
pub mod peer {
    tonic::include_proto!("trireme.peer");
}

/// All of the above as an encoded `google.protobuf.FileDescriptorSet`, for those who learn the
/// messages at run time: reflection and the JSON gateway.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
