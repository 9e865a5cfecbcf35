//! Leases.

use futures::{StreamExt, stream::BoxStream};
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
};
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use crate::{Error, Handle};

/// Renewals of one stream in progress at once.
const RENEWALS: usize = 64;

#[tonic::async_trait]
impl Lease for Service {
    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        Ok(Response::new(handle.lease_grant(ttl, id).await?))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        handle.lease_revoke(request.into_inner().id).await?;
        Ok(Response::new(LeaseRevokeResponse { header: Some(self.handle.header()) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        let stop = handle.inner.shutdown.clone();
        let answers = request
            .into_inner()
            .scan((), |(), message| std::future::ready(message.ok()))
            .map(move |request| renew(handle.clone(), request.id))
            .buffered(RENEWALS)
            .take_until(async move { stop.triggered().await });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        Ok(Response::new(handle.lease_time_to_live(id, keys).await?))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        self.client(&request).check_lease_list().await?;
        let leases = self.handle.lease_leases().into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: Some(self.handle.header()), leases }))
    }
}

/// Renews a lease. The header is of before: a revocation may overtake the answer.
async fn renew(handle: Handle, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
    let header = Some(handle.header());
    match handle.lease_keep_alive(id).await {
        Ok(ttl) => Ok(LeaseKeepAliveResponse { header, id, ttl }),
        Err(Error::LeaseNotFound) => Ok(LeaseKeepAliveResponse { header, id, ttl: 0 }),
        Err(error) => Err(error.into()),
    }
}
