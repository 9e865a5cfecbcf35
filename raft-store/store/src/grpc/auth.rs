//! Users and roles.

use proto::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
    AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
    AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
    AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
    AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
    AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
    AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
    AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse,
    AuthUserListRequest, AuthUserListResponse, AuthUserRevokeRoleRequest,
    AuthUserRevokeRoleResponse, AuthenticateRequest, AuthenticateResponse, InternalRaftRequest,
    ResponseHeader, auth_server::Auth,
};
use tonic::{Request, Response, Status};

use super::Service;
use crate::Handle;

impl Service {
    /// Checks what comes before all calls of auth; the member in the caller's hands.
    fn auth_client<T>(&self, request: &Request<T>) -> Result<Handle, Status> {
        self.check_leader(request)?;
        self.check_learner()?;
        Ok(self.client(request))
    }

    /// Puts a change into the log; the header of the answer.
    async fn change<T>(
        &self,
        request: Request<T>,
        wrap: impl FnOnce(T) -> InternalRaftRequest,
    ) -> Result<Option<ResponseHeader>, Status> {
        let handle = self.auth_client(&request)?;
        handle.change_auth(wrap(request.into_inner())).await?;
        Ok(Some(handle.header()))
    }
}

/// An entry with one request.
macro_rules! entry {
    ($field:ident) => {
        |request| InternalRaftRequest { $field: Some(request), ..InternalRaftRequest::default() }
    };
}

#[tonic::async_trait]
impl Auth for Service {
    async fn auth_enable(
        &self,
        request: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        let header = self.change(request, entry!(auth_enable)).await?;
        Ok(Response::new(AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        let header = self.change(request, entry!(auth_disable)).await?;
        Ok(Response::new(AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        let handle = self.auth_client(&request)?;
        let (enabled, auth_revision) = handle.auth_status().await?;
        let header = Some(handle.header());
        Ok(Response::new(AuthStatusResponse { header, enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let handle = self.auth_client(&request)?;
        let token = handle.authenticate(request.into_inner()).await?;
        Ok(Response::new(AuthenticateResponse { header: Some(handle.header()), token }))
    }

    async fn user_add(
        &self,
        request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        let handle = self.auth_client(&request)?;
        handle.user_add(request.into_inner()).await?;
        Ok(Response::new(AuthUserAddResponse { header: Some(handle.header()) }))
    }

    async fn user_get(
        &self,
        request: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        let handle = self.auth_client(&request)?;
        let roles = handle.user_get(&request.into_inner().name).await?;
        Ok(Response::new(AuthUserGetResponse { header: Some(handle.header()), roles }))
    }

    async fn user_list(
        &self,
        request: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        let handle = self.auth_client(&request)?;
        let users = handle.user_list().await?;
        Ok(Response::new(AuthUserListResponse { header: Some(handle.header()), users }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        let header = self.change(request, entry!(auth_user_delete)).await?;
        Ok(Response::new(AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        let handle = self.auth_client(&request)?;
        handle.user_change_password(request.into_inner()).await?;
        Ok(Response::new(AuthUserChangePasswordResponse { header: Some(handle.header()) }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        let header = self.change(request, entry!(auth_user_grant_role)).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        let header = self.change(request, entry!(auth_user_revoke_role)).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        let header = self.change(request, entry!(auth_role_add)).await?;
        Ok(Response::new(AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        let handle = self.auth_client(&request)?;
        let perm = handle.role_get(&request.into_inner().role).await?;
        Ok(Response::new(AuthRoleGetResponse { header: Some(handle.header()), perm }))
    }

    async fn role_list(
        &self,
        request: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        let handle = self.auth_client(&request)?;
        let roles = handle.role_list().await?;
        Ok(Response::new(AuthRoleListResponse { header: Some(handle.header()), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        let header = self.change(request, entry!(auth_role_delete)).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        let header = self.change(request, entry!(auth_role_grant_permission)).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        let header = self.change(request, entry!(auth_role_revoke_permission)).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header }))
    }
}
