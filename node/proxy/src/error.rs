//! What can go wrong in the service proxy.

use std::io;

/// Why Services could not be proxied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something.
    #[error("service proxy: {action}")]
    Kernel {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The task that talks to the kernel ended early.
    #[error("service proxy: kernel task failed")]
    Task,
}
