//! Why a reconciliation failed.

/// Why a reconciliation failed, or the controllers ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to the API server failed.
    #[error("{doing}")]
    Request {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: client::Error,
    },
    /// Something in the cluster makes no sense; trying again may help.
    #[error("{0}")]
    State(String),
    /// A setting makes no sense.
    #[error("controllers: {0}")]
    Config(String),
}

impl Error {
    /// Another writer was faster, or the object is gone: trying again is all there is to do.
    pub fn is_expected(&self) -> bool {
        match self {
            Self::Request { source, .. } => source.is_conflict() || source.is_not_found(),
            Self::State(_) | Self::Config(_) => false,
        }
    }
}

/// Names what was attempted when a request fails.
pub(crate) trait Doing<T> {
    /// Adds the name.
    fn doing(self, doing: &'static str) -> Result<T, Error>;
    /// Adds the name; an object that is gone counts as done.
    fn gone_is_done(self, doing: &'static str) -> Result<Option<T>, Error>;
}

impl<T> Doing<T> for Result<T, client::Error> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Request { doing, source })
    }

    fn gone_is_done(self, doing: &'static str) -> Result<Option<T>, Error> {
        match self {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(Error::Request { doing, source }),
        }
    }
}
