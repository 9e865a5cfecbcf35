//! Auth as clients call it: what is slow or draws chance happens here, the rest in the log.

use proto::etcdserverpb::{
    AuthUserAddRequest, AuthUserChangePasswordRequest, AuthenticateRequest,
    InternalAuthenticateRequest, InternalRaftRequest,
};

use super::{AuthError, store::has_no_password};
use crate::{Error, Handle, node::Inner, propose::Applied};

impl Handle {
    /// A token for a name and its password.
    pub(crate) async fn authenticate(&self, request: AuthenticateRequest) -> Result<String, Error> {
        let AuthenticateRequest { name, password } = request;
        let inner = &self.inner;
        inner.wait_read().await?;
        loop {
            let checked = inner.check_password(&name, &password).await?;
            let prefix = inner.machine.tokens.prefix();
            let authenticate = Some(InternalAuthenticateRequest {
                name: name.clone(),
                // The log shall not know it.
                password: String::new(),
                simple_token: prefix.clone(),
            });
            let request = InternalRaftRequest { authenticate, ..Default::default() };
            let Applied::Authenticated { index, revision } = inner.propose(request).await? else {
                return Err(Error::Internal("an answer of another kind".to_owned()));
            };
            let token = inner.machine.tokens.issue(&name, revision, &prefix, index)?;
            // The password may have been changed between the comparison and the log.
            if inner.auth_revision() == checked {
                return Ok(token);
            }
        }
    }

    /// Adds a user.
    pub(crate) async fn user_add(&self, mut request: AuthUserAddRequest) -> Result<(), Error> {
        if !request.options.is_some_and(|options| options.no_password) {
            let password = std::mem::take(&mut request.password);
            request.hashed_password = self.inner.passwords.hash(password).await?;
        }
        self.change_auth(InternalRaftRequest { auth_user_add: Some(request), ..Default::default() })
            .await
    }

    /// Gives a user another password.
    pub(crate) async fn user_change_password(
        &self,
        mut request: AuthUserChangePasswordRequest,
    ) -> Result<(), Error> {
        if !request.password.is_empty() {
            let password = std::mem::take(&mut request.password);
            request.hashed_password = self.inner.passwords.hash(password).await?;
        }
        let auth_user_change_password = Some(request);
        self.change_auth(InternalRaftRequest { auth_user_change_password, ..Default::default() })
            .await
    }

    /// Puts a change of users and roles, or of whether they count, into the log.
    pub(crate) async fn change_auth(&self, request: InternalRaftRequest) -> Result<(), Error> {
        self.propose(request).await.map(|_| ())
    }
}

impl Inner {
    fn auth_revision(&self) -> u64 {
        self.state().load().auth.read().revision()
    }

    /// Compares a password; the auth revision of the user that it was compared with.
    async fn check_password(&self, name: &str, password: &str) -> Result<u64, Error> {
        let (hash, revision) = {
            let state = self.state().load();
            let auth = state.auth.read();
            if !auth.is_enabled() {
                return Err(AuthError::NotEnabled.into());
            }
            let user = auth.users.get(name).ok_or(AuthError::AuthFailed)?;
            if has_no_password(user) {
                return Err(AuthError::NoPasswordUser.into());
            }
            (String::from_utf8_lossy(&user.password).into_owned(), auth.revision())
        };
        if self.passwords.is_right(password.to_owned(), hash).await? {
            return Ok(revision);
        }
        tracing::info!(user = name, "invalid password");
        Err(AuthError::AuthFailed.into())
    }
}
