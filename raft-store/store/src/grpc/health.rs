//! gRPC's health protocol, which etcd clients' balancers ask. As in etcd, one name stands for
//! all services: the empty one.

use futures::{StreamExt, stream::BoxStream};
use proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};
use tonic::{Request, Response, Status};

use super::Service;

/// The name that stands for all services.
const ALL: &str = "";

#[tonic::async_trait]
impl Health for Service {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.into_inner().service.as_str() {
            ALL => Ok(Response::new(answer(ServingStatus::Serving))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let status = match request.into_inner().service.as_str() {
            ALL => ServingStatus::Serving,
            _ => ServingStatus::ServiceUnknown,
        };
        let stop = self.handle.inner.shutdown.clone();
        // Nothing changes until this member ends.
        let now = futures::stream::once(async move { Ok(answer(status)) });
        let stream = now.chain(futures::stream::pending());
        Ok(Response::new(stream.take_until(async move { stop.triggered().await }).boxed()))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
