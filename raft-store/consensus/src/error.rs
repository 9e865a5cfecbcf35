//! Why a request to the cluster failed, in the terms a caller must tell apart: whether the
//! request can have taken effect, and whether trying again helps.

use std::io;

/// A failure of consensus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No leader was known until the deadline; the request did not enter the log.
    #[error("no leader")]
    NoLeader,
    /// The leader that had the request lost its office. The new leader's first entry has been
    /// applied here since: a request that this member's state machine has not met by now will
    /// never take effect, so it is safe to propose it again.
    #[error("leader changed")]
    LeaderChanged,
    /// The deadline passed; the request may still take effect.
    #[error("request timed out")]
    Timeout,
    /// More bytes than one entry may have.
    #[error("request of {0} bytes is too large")]
    TooLarge(usize),
    /// Only the leader can do this.
    #[error("not leader")]
    NotLeader,
    /// The wanted change of members is not possible.
    #[error("{0}")]
    Membership(String),
    /// What the leader's own service answered.
    #[error("{0}")]
    Remote(String),
    /// This member is shutting down, or has failed.
    #[error("stopped")]
    Stopped,
    /// A setting makes no sense.
    #[error("{0}")]
    Config(String),
    /// The consensus core gave up, to be restarted clean: the process must end.
    #[error("consensus failed: {0}")]
    Fatal(String),
    /// This member is none any more, for good.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// Certificates could not be used.
    #[error("peer certificates")]
    Tls(#[from] stdx::tls::Error),
    /// Disk or socket.
    #[error("{action}")]
    Io {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Whether the same request may succeed if it is made again.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::NoLeader | Self::LeaderChanged | Self::Timeout | Self::NotLeader)
    }

    /// Whether the request certainly has no effect, now or later.
    pub fn without_effect(&self) -> bool {
        matches!(self, Self::NoLeader | Self::NotLeader | Self::TooLarge(_) | Self::Membership(_))
    }

    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }
}
