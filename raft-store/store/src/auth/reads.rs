//! What users and roles there are, for those who may know.

use proto::authpb::{Permission, permission::Type};

use super::{Auth, AuthError, Identity, ROOT_ROLE};
use crate::{Error, Handle};

impl Handle {
    /// Whether auth is in use, and its revision. Everybody may ask.
    pub(crate) async fn auth_status(&self) -> Result<(bool, u64), Error> {
        self.ask_auth(|auth, _| Ok((auth.is_enabled(), auth.revision()))).await
    }

    /// The roles of a user, for administrators and itself.
    pub(crate) async fn user_get(&self, name: &str) -> Result<Vec<String>, Error> {
        self.ask_auth(|auth, who| {
            let admin = auth.check_admin(who);
            if admin.is_err() && who.name() != name {
                admin?;
            }
            Ok(auth.user(name)?.roles.clone())
        })
        .await
    }

    /// All users, for administrators.
    pub(crate) async fn user_list(&self) -> Result<Vec<String>, Error> {
        self.ask_auth(|auth, who| {
            auth.check_admin(who)?;
            Ok(auth.users.keys().cloned().collect())
        })
        .await
    }

    /// What a role allows, for administrators and those who have it.
    pub(crate) async fn role_get(&self, name: &str) -> Result<Vec<Permission>, Error> {
        self.ask_auth(|auth, who| {
            let admin = auth.check_admin(who);
            if admin.is_err() && !has_role(auth, who, name) {
                admin?;
            }
            let role = auth.role(name)?;
            if name == ROOT_ROLE {
                return Ok(vec![everything()]);
            }
            Ok(role.key_permission.clone())
        })
        .await
    }

    /// All roles, for administrators.
    pub(crate) async fn role_list(&self) -> Result<Vec<String>, Error> {
        self.ask_auth(|auth, who| {
            auth.check_admin(who)?;
            Ok(auth.roles.keys().cloned().collect())
        })
        .await
    }

    async fn ask_auth<T>(
        &self,
        ask: impl FnOnce(&Auth, &Identity) -> Result<T, AuthError>,
    ) -> Result<T, Error> {
        let who = self.identify().await?;
        self.inner.wait_read().await?;
        let state = self.inner.state().load();
        Ok(ask(&state.auth.read(), &who)?)
    }
}

fn has_role(auth: &Auth, who: &Identity, role: &str) -> bool {
    let user = auth.user(who.name());
    user.is_ok_and(|user| user.roles.iter().any(|known| known == role))
}

/// What the role root is said to allow.
fn everything() -> Permission {
    Permission {
        perm_type: Type::Readwrite.into(),
        key: bytes::Bytes::new(),
        range_end: bytes::Bytes::from_static(&[0]),
    }
}
