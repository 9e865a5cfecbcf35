//! The socket of a shim: one request per connection.

use super::SOCKET;
use super::container::{Container, Input};
use super::protocol::{Codec, Frame, Request};
use super::pty::Slave;
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::codec::Framed;

/// A framed connection.
type Connection = Framed<UnixStream, Codec>;

/// Makes the socket. Its path goes through an open directory, because socket paths end at 108
/// bytes.
pub(super) fn bind(dir: &Path) -> io::Result<UnixListener> {
    let handle = std::fs::File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Takes connections for as long as the shim lives.
pub(super) async fn serve(listener: UnixListener, container: Arc<Container>, slave: Option<Slave>) {
    let slave = Arc::new(Mutex::new(slave));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let (served, slave) = (container.clone(), slave.clone());
        container.connections.spawn(async move {
            if let Err(error) = connection(Framed::new(stream, Codec), served, &slave).await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
}

/// Serves one connection.
async fn connection(
    mut framed: Connection,
    container: Arc<Container>,
    slave: &Mutex<Option<Slave>>,
) -> io::Result<()> {
    let Some(Frame::Request(json)) = framed.next().await.transpose()? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no request"));
    };
    match serde_json::from_slice(&json)? {
        Request::Start => {
            let slave = slave.lock().take();
            reply(&mut framed, container.start(slave).await).await
        }
        Request::Kill(signal) => reply(&mut framed, container.kill(signal)).await,
        Request::Wait => {
            exit(&mut framed, &container).await?;
            let _ = container.gone.subscribe().wait_for(|gone| *gone).await;
            Ok(())
        }
        Request::Attach { stdin, stdout, stderr } => {
            let output = container.hub.join(stdout, stderr);
            attach(framed, container, stdin, output).await
        }
    }
}

/// Answers whether something worked.
async fn reply(framed: &mut Connection, done: io::Result<()>) -> io::Result<()> {
    let text = done.map_or_else(|error| error.to_string(), |()| String::new());
    framed.send(Frame::Reply(text)).await
}

/// Waits for the end and tells it.
async fn exit(framed: &mut Connection, container: &Container) -> io::Result<()> {
    let mut ended = container.exit.subscribe();
    let json = match ended.wait_for(Option::is_some).await {
        Ok(exit) => serde_json::to_vec(&*exit)?,
        Err(_) => return Ok(()),
    };
    framed.send(Frame::Exit(json.into())).await
}

/// Carries input and output until the client goes or the container ends.
async fn attach(
    framed: Connection,
    container: Arc<Container>,
    stdin: bool,
    mut output: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let (mut sink, mut source) = framed.split();
    let outputs = async {
        while let Some(frame) = output.recv().await {
            sink.send(frame).await?;
        }
        let mut ended = container.exit.subscribe();
        let json = match ended.wait_for(Option::is_some).await {
            Ok(exit) => serde_json::to_vec(&*exit)?,
            Err(_) => return Ok(()),
        };
        sink.send(Frame::Exit(json.into())).await
    };
    let inputs = async {
        while let Some(frame) = source.next().await.transpose()? {
            match frame {
                Frame::Stdin(bytes) if stdin => input(&container, &bytes).await?,
                Frame::StdinEnd if stdin && container.settings.stdin_once => {
                    *container.input.lock().await = None;
                }
                Frame::Resize(size) => container.resize(size).await,
                _ => {}
            }
        }
        io::Result::Ok(())
    };
    tokio::select! {
        done = outputs => done,
        done = inputs => {
            if stdin && container.settings.stdin_once {
                *container.input.lock().await = None;
            }
            done
        }
    }
}

/// Writes to the process.
async fn input(container: &Container, bytes: &[u8]) -> io::Result<()> {
    match container.input.lock().await.as_mut() {
        Some(Input::Pipe(pipe)) => pipe.write_all(bytes).await,
        Some(Input::Terminal(pty)) => pty.write_all(bytes).await,
        None => Ok(()),
    }
}
