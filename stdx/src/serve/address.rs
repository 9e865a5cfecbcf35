//! Places to listen on: of a network, or of the file system.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Of a network.
    Tcp(SocketAddr),
    /// Of the file system. What is left there of an earlier run is removed.
    Unix(PathBuf),
}

/// A place that is being listened on.
#[derive(Debug)]
pub enum Listener {
    /// Of a network.
    Tcp(TcpListener),
    /// Of the file system.
    Unix(UnixListener),
}

impl Address {
    /// Begins to listen.
    pub async fn bind(&self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await?),
            Self::Unix(path) => Listener::Unix(bind_at(path)?),
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Listens on a socket of the file system, in place of one that an earlier run has left.
fn bind_at(path: &Path) -> io::Result<UnixListener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}
