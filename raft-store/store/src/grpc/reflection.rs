//! Reflection: tools such as grpcurl learn the services from the server. Both versions of the
//! protocol, because older tools know only the first.

use tonic::service::Routes;
use tonic_reflection::server::Builder;

use crate::Error;

/// Services that the list names, beside reflection itself.
const SERVICES: &[&str] = &[
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Auth",
    "v3lockpb.Lock",
    "v3electionpb.Election",
    "grpc.health.v1.Health",
];

/// Adds both versions.
pub(super) fn add(routes: Routes) -> Result<Routes, Error> {
    let builder = || {
        let builder = Builder::configure();
        let builder = builder.register_encoded_file_descriptor_set(proto::DESCRIPTORS);
        SERVICES.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let failed = |error: tonic_reflection::server::Error| {
        Error::Start(format!("preparing reflection: {error}"))
    };
    let first = builder().build_v1alpha().map_err(failed)?;
    let second = builder().build_v1().map_err(failed)?;
    Ok(routes.add_service(first).add_service(second))
}
