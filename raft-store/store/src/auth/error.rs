//! Why auth refuses, in etcd's own words and codes.

use tonic::Code;

/// A refusal by auth. `Display` is the text that a gRPC client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Auth cannot begin without the user root.
    #[error("etcdserver: root user does not exist")]
    RootUserNotFound,
    /// Auth cannot begin before root has the role root.
    #[error("etcdserver: root user does not have root role")]
    RootRoleNotFound,
    /// A user of this name exists.
    #[error("etcdserver: user name already exists")]
    UserExists,
    /// A request without a user, in its content or behind it.
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("etcdserver: user name not found")]
    UserNotFound,
    /// A role of this name exists.
    #[error("etcdserver: role name already exists")]
    RoleExists,
    /// No such role.
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    /// A role without a name.
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    /// Wrong name or password; which of them is not said.
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A grant of no permission.
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    /// The user may not do this.
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have the permission.
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    /// Auth is not in use.
    #[error("etcdserver: authentication is not enabled")]
    NotEnabled,
    /// A token that is unknown, has run out or is not ours.
    #[error("etcdserver: invalid auth token")]
    InvalidToken,
    /// A change that would leave nobody in charge, or a range that is none.
    #[error("etcdserver: invalid auth management")]
    InvalidManagement,
    /// Users or roles have changed since the caller proved who it is.
    #[error("etcdserver: revision of auth store is old")]
    OldRevision,
    /// A password for a user that has none, or one that is not readable.
    #[error("auth: authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// More bytes than a password may have.
    #[error("bcrypt: password length exceeds 72 bytes")]
    PasswordTooLong,
    /// This member can check tokens, and not make any.
    #[error("auth: token signing attempted with verify-only key")]
    VerifyOnly,
}

impl AuthError {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 20] = [
        Self::RootUserNotFound,
        Self::RootRoleNotFound,
        Self::UserExists,
        Self::UserEmpty,
        Self::UserNotFound,
        Self::RoleExists,
        Self::RoleNotFound,
        Self::RoleEmpty,
        Self::AuthFailed,
        Self::PermissionNotGiven,
        Self::PermissionDenied,
        Self::RoleNotGranted,
        Self::PermissionNotGranted,
        Self::NotEnabled,
        Self::InvalidToken,
        Self::InvalidManagement,
        Self::OldRevision,
        Self::NoPasswordUser,
        Self::PasswordTooLong,
        Self::VerifyOnly,
    ];

    /// The gRPC code that goes with the text.
    pub fn code(self) -> Code {
        match self {
            Self::UserEmpty
            | Self::RoleEmpty
            | Self::AuthFailed
            | Self::PermissionNotGiven
            | Self::InvalidManagement
            | Self::OldRevision => Code::InvalidArgument,
            Self::RootUserNotFound
            | Self::RootRoleNotFound
            | Self::UserExists
            | Self::UserNotFound
            | Self::RoleExists
            | Self::RoleNotFound
            | Self::RoleNotGranted
            | Self::PermissionNotGranted
            | Self::NotEnabled => Code::FailedPrecondition,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::InvalidToken => Code::Unauthenticated,
            // etcd has no code for these.
            Self::NoPasswordUser | Self::PasswordTooLong | Self::VerifyOnly => Code::Unknown,
        }
    }
}
