//! Why a request failed, in etcd's own words and codes: clients compare both, byte by byte.

use tonic::{Code, Status};

use crate::AuthError;

/// A failure of the store. `Display` is the text that a gRPC client gets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A request without a key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or an operation of no kind.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// A value beside `ignore_value`.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// A lease beside `ignore_lease`.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More operations than a transaction may have.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// A transaction that writes one key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// A sort order or target that does not exist.
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    /// More bytes than a request may have.
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// Peer URLs that are no URLs.
    #[error("etcdserver: given member URLs are invalid")]
    MemberBadUrls,
    /// The revision is no longer there.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is not there yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// A lease longer than a lease may be.
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// The database has reached its quota.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// More requests at once than this member takes.
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    /// No such lease.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease with this id exists.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// No such member.
    #[error("etcdserver: member not found")]
    MemberNotFound,
    /// A member with this id exists.
    #[error("etcdserver: member ID already exist")]
    MemberExists,
    /// A member with these URLs exists.
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    /// The change would leave the cluster without a majority.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// The change might leave the cluster without a majority: some members are not connected, or not for long.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// Only learners are promoted.
    #[error("etcdserver: can only promote a learner member")]
    MemberNotLearner,
    /// The learner's log is too short.
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// The cluster has enough learners.
    #[error("etcdserver: too many learner members in cluster")]
    TooManyLearners,
    /// Only the leader does this.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// A learner does not serve this.
    #[error("etcdserver: rpc not supported for learner")]
    NotSupportedForLearner,
    /// Leadership cannot go there.
    #[error("etcdserver: bad leader transferee")]
    BadTransferee,
    /// A corruption alarm is up.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    /// A downgrade to a version that is none.
    #[error("etcdserver: wrong downgrade target version format")]
    WrongDowngradeFormat,
    /// A downgrade to a version that cannot be reached.
    #[error("etcdserver: invalid downgrade target version")]
    InvalidDowngrade,
    /// No downgrade is under way.
    #[error("etcdserver: no inflight downgrade job")]
    NoInflightDowngrade,
    /// Nobody leads.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// The leader was lost with the request in its hands.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// This member ends.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// No answer in time; a write may still take effect.
    #[error("etcdserver: request timed out")]
    Timeout,
    /// This member's state is too far behind.
    #[error("etcdserver: request timed out, waiting for the applied index took too long")]
    TimeoutApplied,
    /// Users and roles stand against it.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Something that etcd has no word for.
    #[error("{0}")]
    Internal(String),
    /// A setting makes no sense, or a start failed.
    #[error("{0}")]
    Start(String),
}

impl Error {
    /// The gRPC code that goes with the text.
    pub fn code(&self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidSortOption
            | Self::RequestTooLarge
            | Self::WrongDowngradeFormat
            | Self::InvalidDowngrade
            | Self::MemberBadUrls => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace | Self::TooManyRequests => Code::ResourceExhausted,
            Self::LeaseNotFound | Self::MemberNotFound => Code::NotFound,
            Self::LeaseExists
            | Self::MemberExists
            | Self::PeerUrlExists
            | Self::NotEnoughStarted
            | Self::MemberNotLearner
            | Self::LearnerNotReady
            | Self::TooManyLearners
            | Self::NotLeader
            | Self::NotSupportedForLearner
            | Self::NoInflightDowngrade
            | Self::BadTransferee => Code::FailedPrecondition,
            Self::Corrupt => Code::DataLoss,
            Self::NoLeader
            | Self::Unhealthy
            | Self::LeaderChanged
            | Self::Stopped
            | Self::Timeout
            | Self::TimeoutApplied => Code::Unavailable,
            Self::Auth(error) => error.code(),
            Self::Internal(_) | Self::Start(_) => Code::Unknown,
        }
    }

    /// Whether the same request may succeed if it is made again.
    pub fn retryable(&self) -> bool {
        self.code() == Code::Unavailable || *self == Self::TooManyRequests
    }

    /// Whether every member meets this error when it applies the request: a property of the
    /// request and the state, not of the moment.
    pub fn is_deterministic(&self) -> bool {
        !matches!(self.code(), Code::Unavailable | Code::Unknown | Code::ResourceExhausted)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<consensus::Error> for Error {
    fn from(error: consensus::Error) -> Self {
        use consensus::Error as Raft;
        match error {
            Raft::NoLeader => Self::NoLeader,
            Raft::LeaderChanged => Self::LeaderChanged,
            Raft::Timeout => Self::Timeout,
            Raft::TooLarge(_) => Self::RequestTooLarge,
            Raft::NotLeader => Self::NotLeader,
            Raft::Membership(text) => membership(text),
            Raft::Stopped => Self::Stopped,
            Raft::Remote(text) => Self::Internal(text),
            other => Self::Start(stdx::chain(&other)),
        }
    }
}

/// Consensus says why a change of members is impossible in etcd's words, without the prefix.
fn membership(text: String) -> Error {
    let known = [
        Error::MemberNotFound,
        Error::MemberExists,
        Error::PeerUrlExists,
        Error::MemberBadUrls,
        Error::MemberNotLearner,
        Error::LearnerNotReady,
        Error::BadTransferee,
        Error::NotEnoughStarted,
        Error::NotLeader,
    ];
    let with_prefix = format!("etcdserver: {text}");
    let found = known.into_iter().find(|error| error.to_string() == with_prefix);
    found.unwrap_or(Error::Internal(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_texts_of_consensus_become_etcd_errors() {
        let error = Error::from(consensus::Error::Membership("member not found".to_owned()));
        assert_eq!(error, Error::MemberNotFound);
        assert_eq!(error.code(), Code::NotFound);
        let other = Error::from(consensus::Error::Membership("odd".to_owned()));
        assert_eq!(other.to_string(), "odd");
    }
}
