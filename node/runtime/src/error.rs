//! What can go wrong in a runtime, told so that a pod's status can say it.

use std::io;

/// An error of a runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such sandbox, container or image.
    #[error("{0} not found")]
    NotFound(String),
    /// The request makes no sense as it stands.
    #[error("{0}")]
    Invalid(String),
    /// The container is not in the state that the call needs.
    #[error("container {id} is {state}, not {wanted}")]
    State {
        /// Its id.
        id: String,
        /// What it is.
        state: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// An archive or image is broken.
    #[error("image archive {archive}: {reason}")]
    Archive {
        /// Its file name.
        archive: String,
        /// What is broken.
        reason: String,
    },
    /// The OCI runtime refused.
    #[error("{operation}: {message}")]
    Oci {
        /// What was asked of it.
        operation: &'static str,
        /// What it said.
        message: String,
    },
    /// This machine cannot run containers this way.
    #[error("{0}")]
    Unsupported(String),
    /// The operating system refused.
    #[error("{doing}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// A process of ours went away or spoke nonsense.
    #[error("shim of container {id}: {reason}")]
    Shim {
        /// The container.
        id: String,
        /// What happened.
        reason: String,
    },
    /// Asked for and not there in this driver.
    #[error("{0} took too long")]
    Timeout(&'static str),
}

impl Error {
    /// Whether the thing named is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

/// Adds to a system error what was being done.
pub(crate) trait Doing<T> {
    /// Names the action.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Io { doing: doing(), source: error.into() })
    }
}
