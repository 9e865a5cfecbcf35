//! Users and roles as all members have them, and what they add up to.
//!
//! Written by the applier alone. Each change either refuses without effect or goes through as a
//! whole, raising the auth revision; etcd's odd cases are kept, because clients see them.

use std::{collections::BTreeMap, io};

use prost::Message as _;
use proto::{
    authpb::{Permission, Role, User, UserAddOptions},
    etcdserverpb::{
        AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest,
    },
};

use super::{
    AuthError, ROOT, ROOT_ROLE, password,
    permitted::{self, Permitted},
};
use crate::state::{
    disk::{self, Batch, Disk},
    key_kind::{AUTH_ENABLED, AUTH_REVISION, KeyKind},
};

/// Users, roles and the switch that makes them count.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    is_enabled: bool,
    revision: u64,
    pub(super) users: BTreeMap<String, User>,
    pub(super) roles: BTreeMap<String, Role>,
    /// What each user may read and write, follows from the rest.
    permitted: BTreeMap<String, Permitted>,
}

impl Auth {
    /// Reads what is on disk.
    pub(crate) fn load(disk: &Disk) -> io::Result<Self> {
        let revision = match disk.meta(AUTH_REVISION)? {
            None => 1,
            Some(bytes) => {
                let bytes = bytes[..].try_into();
                u64::from_be_bytes(bytes.map_err(|_| disk::invalid("an unreadable auth revision"))?)
            }
        };
        let is_enabled = disk.meta(AUTH_ENABLED)?.is_some_and(|bytes| bytes[..] == [1]);
        let mut auth = Self { is_enabled, revision, ..Self::default() };
        let name = |key| {
            String::from_utf8(key).map_err(|_| disk::invalid("a user or role without a name"))
        };
        for (key, value) in disk.all(KeyKind::User)? {
            let user = User::decode(&value[..]).map_err(io::Error::other)?;
            auth.users.insert(name(key)?, user);
        }
        for (key, value) in disk.all(KeyKind::Role)? {
            let role = Role::decode(&value[..]).map_err(io::Error::other)?;
            auth.roles.insert(name(key)?, role);
        }
        for name in auth.users.keys().cloned().collect::<Vec<_>>() {
            auth.permit(&name);
        }
        Ok(auth)
    }

    /// Whether users and roles count.
    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// How often users and roles have changed.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// A user.
    pub(super) fn user(&self, name: &str) -> Result<&User, AuthError> {
        self.users.get(name).ok_or(AuthError::UserNotFound)
    }

    /// A role.
    pub(super) fn role(&self, name: &str) -> Result<&Role, AuthError> {
        self.roles.get(name).ok_or(AuthError::RoleNotFound)
    }

    /// What a user may read and write; that root may do everything is not part of it.
    pub(super) fn permitted(&self, name: &str) -> Option<&Permitted> {
        self.permitted.get(name)
    }

    /// Makes users and roles count; whether that is new.
    pub(super) fn enable(&mut self, batch: &mut Batch) -> Result<bool, AuthError> {
        if self.is_enabled {
            return Ok(false);
        }
        let root = self.users.get(ROOT).ok_or(AuthError::RootUserNotFound)?;
        if !is_root(root) {
            return Err(AuthError::RootRoleNotFound);
        }
        self.set_enabled(batch, true);
        Ok(true)
    }

    /// Makes them not count any more; whether that is new.
    pub(super) fn disable(&mut self, batch: &mut Batch) -> bool {
        if !self.is_enabled {
            return false;
        }
        self.set_enabled(batch, false);
        self.changed(batch);
        true
    }

    fn set_enabled(&mut self, batch: &mut Batch, to: bool) {
        self.is_enabled = to;
        batch.put(KeyKind::Meta, AUTH_ENABLED.as_bytes(), &[u8::from(to)]);
    }

    pub(super) fn user_add(
        &mut self,
        batch: &mut Batch,
        request: &AuthUserAddRequest,
    ) -> Result<(), AuthError> {
        let name = &request.name;
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(AuthError::UserExists);
        }
        let options = request.options.unwrap_or(UserAddOptions { no_password: false });
        let password = match options.no_password {
            true => Vec::new(),
            false => password::decode(&request.hashed_password)?,
        };
        let user = User {
            name: name.clone().into(),
            password: password.into(),
            roles: Vec::new(),
            options: Some(options),
        };
        self.put_user(batch, name, user);
        self.changed(batch);
        Ok(())
    }

    pub(super) fn user_delete(&mut self, batch: &mut Batch, name: &str) -> Result<(), AuthError> {
        if self.is_enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.users.remove(name).ok_or(AuthError::UserNotFound)?;
        self.permitted.remove(name);
        batch.delete(KeyKind::User, name.as_bytes());
        self.changed(batch);
        Ok(())
    }

    pub(super) fn user_change_password(
        &mut self,
        batch: &mut Batch,
        request: &AuthUserChangePasswordRequest,
    ) -> Result<(), AuthError> {
        let mut user = self.user(&request.name)?.clone();
        user.password = match has_no_password(&user) {
            true => bytes::Bytes::new(),
            false => password::decode(&request.hashed_password)?.into(),
        };
        self.put_user(batch, &request.name, user);
        self.changed(batch);
        Ok(())
    }

    pub(super) fn user_grant_role(
        &mut self,
        batch: &mut Batch,
        name: &str,
        role: &str,
    ) -> Result<(), AuthError> {
        let mut user = self.user(name)?.clone();
        // root may have its role before the role is made.
        if role != ROOT_ROLE {
            self.role(role)?;
        }
        let Err(place) = user.roles.binary_search_by(|known| known.as_str().cmp(role)) else {
            return Ok(());
        };
        user.roles.insert(place, role.to_owned());
        self.put_user(batch, name, user);
        self.changed(batch);
        Ok(())
    }

    pub(super) fn user_revoke_role(
        &mut self,
        batch: &mut Batch,
        name: &str,
        role: &str,
    ) -> Result<(), AuthError> {
        if self.is_enabled && name == ROOT && role == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        let mut user = self.user(name)?.clone();
        if !take_role(&mut user, role) {
            return Err(AuthError::RoleNotGranted);
        }
        self.put_user(batch, name, user);
        self.changed(batch);
        Ok(())
    }

    pub(super) fn role_add(&mut self, batch: &mut Batch, name: &str) -> Result<(), AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthError::RoleExists);
        }
        let role = Role { name: name.to_owned().into(), key_permission: Vec::new() };
        self.put_role(batch, name, role);
        self.changed(batch);
        Ok(())
    }

    pub(super) fn role_delete(&mut self, batch: &mut Batch, name: &str) -> Result<(), AuthError> {
        if self.is_enabled && name == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
        batch.delete(KeyKind::Role, name.as_bytes());
        for (user_name, mut user) in self.users_with(name) {
            take_role(&mut user, name);
            self.put_user(batch, &user_name, user);
        }
        self.changed(batch);
        Ok(())
    }

    pub(super) fn role_grant_permission(
        &mut self,
        batch: &mut Batch,
        request: &AuthRoleGrantPermissionRequest,
    ) -> Result<(), AuthError> {
        let granted = request.perm.as_ref().ok_or(AuthError::PermissionNotGiven)?;
        if !permitted::is_valid(granted) {
            return Err(AuthError::InvalidManagement);
        }
        let mut role = self.role(&request.name)?.clone();
        let all = &mut role.key_permission;
        let place = all.partition_point(|known| known.key < granted.key);
        match all.get_mut(place).filter(|known| is_same_range(known, granted)) {
            Some(known) => known.perm_type = granted.perm_type,
            None => {
                all.push(granted.clone());
                all.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        self.put_role(batch, &request.name, role);
        self.changed(batch);
        Ok(())
    }

    pub(super) fn role_revoke_permission(
        &mut self,
        batch: &mut Batch,
        request: &AuthRoleRevokePermissionRequest,
    ) -> Result<(), AuthError> {
        let mut role = self.role(&request.role)?.clone();
        let before = role.key_permission.len();
        role.key_permission
            .retain(|known| known.key != request.key || known.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(AuthError::PermissionNotGranted);
        }
        self.put_role(batch, &request.role, role);
        self.changed(batch);
        Ok(())
    }

    fn changed(&mut self, batch: &mut Batch) {
        self.revision += 1;
        batch.put(KeyKind::Meta, AUTH_REVISION.as_bytes(), &self.revision.to_be_bytes());
    }

    fn put_user(&mut self, batch: &mut Batch, name: &str, user: User) {
        batch.put(KeyKind::User, name.as_bytes(), &user.encode_to_vec());
        self.users.insert(name.to_owned(), user);
        self.permit(name);
    }

    fn put_role(&mut self, batch: &mut Batch, name: &str, role: Role) {
        batch.put(KeyKind::Role, name.as_bytes(), &role.encode_to_vec());
        self.roles.insert(name.to_owned(), role);
        for (user_name, _) in self.users_with(name) {
            self.permit(&user_name);
        }
    }

    fn users_with(&self, role: &str) -> Vec<(String, User)> {
        let has = |user: &User| user.roles.iter().any(|known| known == role);
        let users = self.users.iter().filter(|(_, user)| has(user));
        users.map(|(name, user)| (name.clone(), user.clone())).collect()
    }

    /// Works out anew what a user may read and write.
    fn permit(&mut self, name: &str) {
        let Some(user) = self.users.get(name) else { return };
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        let permitted = Permitted::of(roles.flat_map(|role| &role.key_permission));
        self.permitted.insert(name.to_owned(), permitted);
    }
}

fn is_same_range(one: &Permission, other: &Permission) -> bool {
    one.key == other.key && one.range_end == other.range_end
}

/// Whether a user may do everything.
pub(super) fn is_root(user: &User) -> bool {
    user.roles.iter().any(|role| role == ROOT_ROLE)
}

/// Whether a user can prove who it is by a certificate only.
pub(super) fn has_no_password(user: &User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}

/// Takes a role from a user; whether it was there.
fn take_role(user: &mut User, role: &str) -> bool {
    let before = user.roles.len();
    user.roles.retain(|known| known != role);
    user.roles.len() < before
}
