//! The streams of an exec or attach: what flows in and out, the size of the terminal, and how it
//! ended.

use crate::Result;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

/// A stream in both directions, such as a forwarded connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A stream that is read.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// A stream that is written; dropping it says end of input.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// A running exec or attach. Dropping it ends an exec's process and leaves an attached container
/// alone.
pub struct Session {
    /// Input of the process, when asked for.
    pub stdin: Option<Writer>,
    /// Its output; with a terminal also its errors.
    pub stdout: Option<Reader>,
    /// Its errors, when asked for and without a terminal.
    pub stderr: Option<Reader>,
    /// Takes new sizes of the terminal; ignored without one.
    pub resize: mpsc::Sender<Size>,
    /// The exit code, after the streams have ended. For an attach: when the container exits.
    pub exit: oneshot::Receiver<Result<i32>>,
}
