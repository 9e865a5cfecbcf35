//! What can go wrong in the agent, told so that a Pod's status or event can say it.

use std::io;
use std::path::Path;

/// An error of the agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or cannot be reached.
    #[error("API server")]
    Api(#[from] client::Error),
    /// The runtime refused.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The pod network could not be set up.
    #[error("pod network")]
    Network(#[from] network::Error),
    /// The operating system refused.
    #[error("{doing}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// The Pod asks for something that does not exist or cannot work; the text goes into its
    /// status.
    #[error("{0}")]
    Pod(String),
    /// The settings make no sense.
    #[error("{0}")]
    Config(String),
}

/// What every fallible call of this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps a system error with what was being done to a path; for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(verb: &str, path: &Path) -> impl FnOnce(E) -> Self {
        let doing = format!("{verb} {}", path.display());
        move |source| Self::Io { doing, source: source.into() }
    }

    /// The whole text for a status or an event.
    pub(crate) fn text(&self) -> String {
        stdx::chain(self)
    }
}
