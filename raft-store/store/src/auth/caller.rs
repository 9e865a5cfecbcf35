//! Who holds a handle, and how that becomes an identity: at the moment of each request, because
//! tokens run out and users change.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Access, AuthError, Identity};
use crate::{Error, Handle, node::Inner, propose::Applied, state::State};

/// Who holds a handle.
#[derive(Debug, Clone, Default)]
pub(crate) enum Caller {
    /// The process itself.
    #[default]
    Process,
    /// A client.
    Client {
        /// What it showed as its token.
        token: Option<Arc<str>>,
        /// The certificates that it proved, where those name users.
        certs: Option<Arc<Vec<CertificateDer<'static>>>>,
    },
}

impl Handle {
    /// The same member, for somebody else.
    pub(crate) fn with_caller(&self, caller: Caller) -> Self {
        Self { inner: self.inner.clone(), caller }
    }

    /// Who the caller is, now.
    pub(crate) async fn identify(&self) -> Result<Identity, Error> {
        let Caller::Client { token, certs } = &self.caller else { return Ok(Identity::Process) };
        if !self.inner.state().load().auth.read().is_enabled() {
            return Ok(Identity::Nobody);
        }
        if let Some(token) = token {
            return self.inner.by_token(token).await;
        }
        let Some(name) = certs.as_ref().and_then(|certs| common_name(certs)) else {
            return Ok(Identity::Nobody);
        };
        let revision = self.inner.state().load().auth.read().revision();
        Ok(Identity::User { name, revision })
    }

    /// Who the caller is, when that may not be nobody.
    pub(crate) async fn identify_user(&self) -> Result<Identity, Error> {
        let who = self.identify().await?;
        self.inner.state().load().auth.read().check_user(&who)?;
        Ok(who)
    }

    /// Refuses callers that may not do everything.
    pub(crate) async fn check_admin(&self) -> Result<(), Error> {
        let who = self.identify().await?;
        Ok(self.inner.state().load().auth.read().check_admin(&who)?)
    }

    /// Puts a request of the caller into the log.
    pub(crate) async fn propose(
        &self,
        request: proto::etcdserverpb::InternalRaftRequest,
    ) -> Result<Applied, Error> {
        let who = self.identify().await?;
        self.inner.propose_as(&who, request).await
    }

    /// Reads for the caller what it may read. Refuses afterwards if users or roles have changed
    /// meanwhile: the answer may be from when the caller was no longer allowed to have it.
    pub(crate) async fn read<T>(
        &self,
        check: impl FnOnce(&State, &Identity) -> Result<(), AuthError>,
        read: impl FnOnce(&State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let who = self.identify().await?;
        let state = self.inner.state().load();
        check(&state, &who)?;
        let answer = read(&state)?;
        who.check_same(state.auth.read().revision())?;
        Ok(answer)
    }

    /// Refuses a watch of what the caller may not read.
    pub(crate) async fn check_watch(
        &self,
        key: &bytes::Bytes,
        range_end: &bytes::Bytes,
    ) -> Result<(), Error> {
        let who = self.identify().await?;
        let state = self.inner.state().load();
        Ok(state.auth.read().check_keys(&who, Access::Read, key, range_end)?)
    }

    /// Refuses to tell or change something about a lease whose keys are not the caller's.
    pub(crate) async fn check_lease(&self, access: Access, id: i64) -> Result<Identity, Error> {
        let who = self.identify_user().await?;
        let state = self.inner.state().load();
        state.auth.read().check_lease(&who, access, &state.leases.read(), id)?;
        Ok(who)
    }

    /// Refuses a list of leases to those who may not read the keys of all of them.
    pub(crate) async fn check_lease_list(&self) -> Result<(), Error> {
        let who = self.identify_user().await?;
        let state = self.inner.state().load();
        let (auth, leases) = (state.auth.read(), state.leases.read());
        if auth.check_admin(&who).is_ok() {
            return Ok(());
        }
        for (_, lease) in leases.iter() {
            for key in &lease.keys {
                auth.check_keys(&who, Access::Read, key, &bytes::Bytes::new())?;
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Whose token this is. A token of another member may be ahead of what is applied here.
    async fn by_token(&self, token: &str) -> Result<Identity, Error> {
        let tokens = &self.machine.tokens;
        let index = tokens.index(token).ok_or(AuthError::InvalidToken)?;
        let applied = self.consensus.wait_applied(index);
        if tokio::time::timeout(consensus::PROPOSE_TIMEOUT, applied).await.is_err() {
            return Err(AuthError::InvalidToken.into());
        }
        let revision = self.state().load().auth.read().revision();
        Ok(tokens.identify(token, revision).ok_or(AuthError::InvalidToken)?)
    }
}

/// The name in the first certificate; its last one, as Go reads it. None when it is unreadable.
pub(crate) fn common_name(certs: &[CertificateDer<'static>]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certs.first()?).ok()?;
    let last = certificate.subject().iter_common_name().last();
    Some(last.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned())
}
