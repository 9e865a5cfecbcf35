//! What can go wrong when wiring Pods.

use std::{io, net::Ipv4Addr, path::PathBuf};

/// Why the pod network could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work; the text says what to change.
    #[error("pod network: {0}")]
    Config(String),
    /// Every address of the node's pod range is in use.
    #[error("no free address in pod range {0}")]
    Exhausted(ipnet::Ipv4Net),
    /// The kernel refused a change.
    #[error("pod network: {action}")]
    Kernel {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A file or namespace could not be used.
    #[error("pod network: {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A link that must exist does not.
    #[error("no interface {0}")]
    NoLink(String),
    /// No interface of this host carries the node's address.
    #[error("no interface carries the node address {0}")]
    NoNodeAddress(Ipv4Addr),
    /// A helper thread could not do its work.
    #[error("helper thread in a network namespace failed")]
    Thread,
}

impl Error {
    /// Wraps an answer of the kernel.
    pub(crate) fn kernel(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let action = action.into();
        move |source| Self::Kernel { action, source }
    }

    /// Wraps a file error.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
