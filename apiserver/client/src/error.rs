//! What can go wrong between a component and the API server.

use api::status::Status;
use std::time::Duration;

/// Any error behind a broken connection.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request, a watch or a setting failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered, with a refusal.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// No server could be asked: the request was certainly not carried out.
    #[error("no master could be reached")]
    Unreachable(#[source] Option<Cause>),
    /// The connection broke while the request was under way: it may have been carried out.
    #[error("the connection to the master broke")]
    Broken(#[source] Cause),
    /// No answer came in time: the request may have been carried out.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer could not be understood.
    #[error("the answer of {path} can't be read")]
    Decode {
        /// The request's path.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A request could not be written.
    #[error("the request can't be written")]
    Encode(#[source] Cause),
    /// A setting makes no sense.
    #[error("{0}")]
    Config(String),
    /// A file of settings can't be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS settings are not usable.
    #[error("TLS settings")]
    Tls(#[from] stdx::tls::Error),
}

impl Error {
    /// A refusal.
    pub fn refused(code: u16, reason: &str, message: &str) -> Self {
        Self::Status(Box::new(Status::new(code, reason, message)))
    }

    /// The server's answer, when there was one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The answer's HTTP code; 0 when there was none.
    pub fn code(&self) -> u16 {
        self.status().map_or(0, |status| status.code)
    }

    /// The answer's reason; empty when there was none.
    pub fn reason(&self) -> &str {
        self.status().map_or("", |status| status.reason.as_str())
    }

    /// The object (or the resource) isn't there.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// Somebody else changed the object first; not when it merely exists already.
    pub fn is_conflict(&self) -> bool {
        self.code() == 409 && self.reason() != "AlreadyExists"
    }

    /// An object of that name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.code() == 409 && self.reason() == "AlreadyExists"
    }

    /// The revision (or the continue token) is too old.
    pub fn is_expired(&self) -> bool {
        self.code() == 410
    }

    /// The same as [`Self::is_expired`].
    pub fn is_gone(&self) -> bool {
        self.is_expired()
    }

    /// Who asks may not do that.
    pub fn is_forbidden(&self) -> bool {
        self.code() == 403
    }

    /// The object is not acceptable.
    pub fn is_invalid(&self) -> bool {
        self.code() == 422
    }

    /// The same request may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status.code, 409 | 429 | 500 | 502 | 503 | 504),
            Self::Unreachable(_) | Self::Broken(_) | Self::Timeout(_) => true,
            _ => false,
        }
    }

    /// The request was certainly not carried out, and no server said why.
    pub fn not_sent(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}
