//! Where a container's output goes: into its log, and to everybody who is attached.

use super::Settings;
use super::protocol::Frame;
use crate::log::{Stream, Writer};
use bytes::Bytes;
use parking_lot::Mutex;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

/// Frames that wait for one attached client.
const QUEUE: usize = 64;
/// A client that takes nothing for so long is let go; until then it slows the container down, as a
/// terminal does.
const PATIENCE: Duration = Duration::from_secs(10);

/// One who is attached.
struct Client {
    stdout: bool,
    stderr: bool,
    frames: mpsc::Sender<Frame>,
}

/// The log and the clients.
pub(super) struct Hub {
    log: Mutex<Option<Writer>>,
    clients: Mutex<Vec<Client>>,
}

impl Hub {
    /// Opens the log.
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let log = settings
            .log_path
            .as_ref()
            .map(|path| Writer::open(path, settings.log_max_bytes, settings.log_max_files));
        Ok(Self { log: Mutex::new(log.transpose()?), clients: Mutex::default() })
    }

    /// Adds a client.
    pub(super) fn join(&self, stdout: bool, stderr: bool) -> mpsc::Receiver<Frame> {
        let (frames, queue) = mpsc::channel(QUEUE);
        self.clients.lock().push(Client { stdout, stderr, frames });
        queue
    }

    /// Takes output until the stream ends.
    pub(super) async fn drain(&self, stream: Stream, mut source: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match source.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => self.output(stream, &buffer[..count]).await,
                Err(error) => {
                    tracing::warn!(%error, "output not readable");
                    break;
                }
            }
        }
        self.log(|log| log.finish(stream));
    }

    /// Logs and hands out one piece.
    async fn output(&self, stream: Stream, bytes: &[u8]) {
        self.log(|log| log.write(stream, bytes));
        let wanted: Vec<mpsc::Sender<Frame>> = {
            let mut clients = self.clients.lock();
            clients.retain(|client| !client.frames.is_closed());
            let wants = |client: &&Client| match stream {
                Stream::Stdout => client.stdout,
                Stream::Stderr => client.stderr,
            };
            clients.iter().filter(wants).map(|client| client.frames.clone()).collect()
        };
        if wanted.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(bytes);
        for frames in wanted {
            let frame = match stream {
                Stream::Stdout => Frame::Stdout(bytes.clone()),
                Stream::Stderr => Frame::Stderr(bytes.clone()),
            };
            if tokio::time::timeout(PATIENCE, frames.send(frame)).await.is_err() {
                self.clients.lock().retain(|client| !client.frames.same_channel(&frames));
            }
        }
    }

    /// Lets all clients go: what they have not read yet still reaches them.
    pub(super) fn close(&self) {
        self.clients.lock().clear();
    }

    /// Works on the log; a full disk loses lines but never stops the container.
    fn log(&self, work: impl FnOnce(&mut Writer) -> io::Result<()>) {
        if let Some(log) = self.log.lock().as_mut()
            && let Err(error) = work(log)
        {
            tracing::warn!(%error, "log not written");
        }
    }
}
