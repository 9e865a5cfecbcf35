//! Members.

use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, ResponseHeader, cluster_server::Cluster,
};
use tonic::{Request, Response, Status};

use super::Service;

impl Service {
    /// A header without a revision: members are not part of the keys' history.
    fn cluster_header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: 0, ..self.handle.header() })
    }

    fn members(&self) -> Vec<Member> {
        self.handle.inner.members()
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        let request = request.into_inner();
        let member = handle.member_add(request.peer_urls, request.is_learner).await?;
        let header = self.cluster_header();
        let members = self.members();
        Ok(Response::new(MemberAddResponse { header, member: Some(member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        handle.member_remove(request.into_inner().id).await?;
        let (header, members) = (self.cluster_header(), self.members());
        Ok(Response::new(MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        let request = request.into_inner();
        handle.member_update(request.id, request.peer_urls).await?;
        let (header, members) = (self.cluster_header(), self.members());
        Ok(Response::new(MemberUpdateResponse { header, members }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.check_leader(&request)?;
        let handle = self.client(&request);
        let members = handle.member_list(request.into_inner().linearizable).await?;
        Ok(Response::new(MemberListResponse { header: self.cluster_header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.check_leader(&request)?;
        self.check_learner()?;
        let handle = self.client(&request);
        handle.member_promote(request.into_inner().id).await?;
        let (header, members) = (self.cluster_header(), self.members());
        Ok(Response::new(MemberPromoteResponse { header, members }))
    }
}
