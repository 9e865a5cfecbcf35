//! Talks to a shim from the agent.

use super::SOCKET;
use super::protocol::{Codec, Frame, Request};
use crate::{Error, Exit, Result};
use futures::{SinkExt, StreamExt};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_util::codec::Framed;

/// A shim that says nothing for so long counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A framed connection to a shim.
pub(crate) type Connection = Framed<UnixStream, Codec>;

/// Connects to the shim of a directory and asks for something.
pub(crate) async fn open(dir: &Path, request: &Request) -> io::Result<Connection> {
    let handle = std::fs::File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    let mut framed = Framed::new(UnixStream::connect(path).await?, Codec);
    framed.send(Frame::Request(serde_json::to_vec(request)?.into())).await?;
    Ok(framed)
}

/// Asks for something that is answered once. The answer's text is the error.
pub(crate) async fn call(dir: &Path, id: &str, request: &Request) -> Result<()> {
    let broken = |reason: String| Error::Shim { id: id.to_owned(), reason };
    let asked = async {
        let mut framed = open(dir, request).await?;
        framed.next().await.transpose()
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(Some(Frame::Reply(text)))) if text.is_empty() => Ok(()),
        Ok(Ok(Some(Frame::Reply(message)))) => {
            let operation = if matches!(request, Request::Start) { "start" } else { "kill" };
            Err(Error::Oci { operation, message })
        }
        Ok(Ok(_)) => Err(broken("ended without an answer".into())),
        Ok(Err(error)) => Err(broken(error.to_string())),
        Err(_) => Err(broken("does not answer".into())),
    }
}

/// Waits until the container has ended; `None` when the shim died first. The connection ends with
/// the shim.
pub(crate) async fn exit(framed: &mut Connection) -> Option<Exit> {
    match framed.next().await {
        Some(Ok(Frame::Exit(json))) => serde_json::from_slice(&json).ok(),
        _ => None,
    }
}
