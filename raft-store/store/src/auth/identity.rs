//! Who a request comes from, once that is known; it travels in the header of a log entry.

use proto::etcdserverpb::RequestHeader;

use super::AuthError;

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A member's own process, which may do everything.
    Process,
    /// A client that has not said who it is.
    Nobody,
    /// A client that has proven to be a user.
    User {
        /// The user's name.
        name: String,
        /// The auth revision at which that was proven.
        revision: u64,
    },
}

impl Identity {
    /// Who an entry comes from. Entries without a header are the leader's own.
    pub(crate) fn of(header: Option<&RequestHeader>) -> Self {
        match header {
            None => Self::Process,
            Some(header) if header.own => Self::Process,
            Some(header) if header.username.is_empty() && header.auth_revision == 0 => Self::Nobody,
            Some(header) => {
                Self::User { name: header.username.clone(), revision: header.auth_revision }
            }
        }
    }

    /// The header of an entry with this id.
    pub(crate) fn header(&self, id: u64) -> RequestHeader {
        let header = RequestHeader { id, ..RequestHeader::default() };
        match self {
            Self::Process => RequestHeader { own: true, ..header },
            Self::Nobody => header,
            Self::User { name, revision } => {
                RequestHeader { username: name.clone(), auth_revision: *revision, ..header }
            }
        }
    }

    /// The user's name; empty when there is none.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Process | Self::Nobody => "",
            Self::User { name, .. } => name,
        }
    }

    /// Refuses when users or roles have changed since the identity was proven.
    pub(crate) fn check_same(&self, now: u64) -> Result<(), AuthError> {
        match self {
            Self::User { revision, .. } if *revision != 0 && *revision != now => {
                Err(AuthError::OldRevision)
            }
            _ => Ok(()),
        }
    }
}
