//! Why a server can't start, and how the store's errors become the API's.

use api::status::Status;

use crate::storage;

/// What stops a server from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port can't be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates or keys of the HTTPS port are unusable.
    #[error("the server's certificate is unusable")]
    Tls(#[from] stdx::tls::Error),
    /// A key for tokens is unusable.
    #[error("the token key {path} is unusable: {why}")]
    Key {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The file of static tokens is unusable.
    #[error("the token file {path} is unusable: {why}")]
    TokenFile {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
}

impl From<storage::Error> for Status {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Compacted => {
                let text = "The resourceVersion for the provided list is too old.";
                Status::new(410, "Expired", text)
            }
            storage::Error::Future => Status::new(504, "Timeout", &error.to_string()),
            storage::Error::TooLarge(text) => Status::new(500, "", &text),
            storage::Error::Unavailable(text) | storage::Error::Timeout(text) => {
                let mut status = Status::new(503, "ServiceUnavailable", &text);
                status.set_retry_after(1);
                status
            }
            storage::Error::Other(text) => Status::internal(&text),
        }
    }
}
