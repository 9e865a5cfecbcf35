//! What entries about users and roles do, the same on all members.

use proto::etcdserverpb::InternalRaftRequest;

use super::{Auth, AuthError, TokenChange, store::has_no_password, tokens};
use crate::{propose::Applied, state::write::Writer};

/// Whether only an administrator may have this applied.
pub(crate) fn needs_admin(request: &InternalRaftRequest) -> bool {
    request.auth_enable.is_some()
        || request.auth_disable.is_some()
        || request.auth_user_add.is_some()
        || request.auth_user_delete.is_some()
        || request.auth_user_change_password.is_some()
        || request.auth_user_grant_role.is_some()
        || request.auth_user_revoke_role.is_some()
        || request.auth_role_add.is_some()
        || request.auth_role_delete.is_some()
        || request.auth_role_grant_permission.is_some()
        || request.auth_role_revoke_permission.is_some()
}

/// Does what an entry says about users and roles, if it says anything. `index` is where the entry
/// lies in the log.
pub(crate) fn apply(
    writer: &mut Writer<'_>,
    request: &InternalRaftRequest,
    index: u64,
    tokens: &mut Vec<TokenChange>,
) -> Result<Applied, AuthError> {
    let state = writer.state;
    let auth = &mut *state.auth.write();
    let batch = &mut writer.batch;
    if request.auth_enable.is_some() {
        if auth.enable(batch)? {
            tokens.push(TokenChange::Enabled);
        }
    } else if request.auth_disable.is_some() {
        if auth.disable(batch) {
            tokens.push(TokenChange::Disabled);
        }
    } else if let Some(request) = &request.authenticate {
        check_authentication(auth, &request.name)?;
        if !request.simple_token.is_empty() {
            let token = tokens::simple_token(&request.simple_token, index);
            tokens.push(TokenChange::Assigned { user: request.name.clone(), token });
        }
        return Ok(Applied::Authenticated { index, revision: auth.revision() });
    } else if let Some(request) = &request.auth_user_add {
        auth.user_add(batch, request)?;
    } else if let Some(request) = &request.auth_user_delete {
        auth.user_delete(batch, &request.name)?;
        tokens.push(TokenChange::Forgotten(request.name.clone()));
    } else if let Some(request) = &request.auth_user_change_password {
        auth.user_change_password(batch, request)?;
        tokens.push(TokenChange::Forgotten(request.name.clone()));
    } else if let Some(request) = &request.auth_user_grant_role {
        auth.user_grant_role(batch, &request.user, &request.role)?;
    } else if let Some(request) = &request.auth_user_revoke_role {
        auth.user_revoke_role(batch, &request.name, &request.role)?;
    } else if let Some(request) = &request.auth_role_add {
        auth.role_add(batch, &request.name)?;
    } else if let Some(request) = &request.auth_role_delete {
        auth.role_delete(batch, &request.role)?;
    } else if let Some(request) = &request.auth_role_grant_permission {
        auth.role_grant_permission(batch, request)?;
    } else if let Some(request) = &request.auth_role_revoke_permission {
        auth.role_revoke_permission(batch, request)?;
    }
    Ok(Applied::Done)
}

/// The password was right when it was compared; whether it still counts is decided here.
fn check_authentication(auth: &Auth, name: &str) -> Result<(), AuthError> {
    if !auth.is_enabled() {
        return Err(AuthError::NotEnabled);
    }
    let user = auth.users.get(name).ok_or(AuthError::AuthFailed)?;
    if has_no_password(user) { Err(AuthError::AuthFailed) } else { Ok(()) }
}
