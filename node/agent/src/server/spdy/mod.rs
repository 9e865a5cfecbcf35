//! The server's end of SPDY/3.1 as Kubernetes clients speak it: many streams over one upgraded connection.
//!
//! What clients in the field use is here: streams opened by the client, data, half-close, reset, ping. Flow control is
//! not, as the clients' own library has none either.

mod dictionary;
pub(super) mod frame;
pub(super) mod headers;

use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::{Mutex, mpsc};

use self::frame::Frame;
use self::headers::Headers;

/// Frames that wait to be written.
const OUTGOING: usize = 64;
/// Pieces that a stream's reader may fall behind by, before the whole connection waits for it.
const INCOMING: usize = 64;
/// Streams that wait to be accepted.
const WAITING: usize = 64;
/// Most streams at a time.
const STREAMS: usize = 4096;
/// Status of a reset: the stream is refused.
const REFUSED: u32 = 3;

/// A connection.
pub(super) struct Connection {
    accept: mpsc::Receiver<Stream>,
    out: mpsc::Sender<Frame>,
}

/// One stream.
pub(super) struct Stream {
    id: u32,
    headers: Headers,
    /// What the client sends; ends with its half-close.
    pub incoming: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Frame>,
    replies: Arc<Mutex<headers::Writer>>,
}

/// The sending half of a stream.
#[derive(Clone)]
pub(super) struct Sender {
    id: u32,
    out: mpsc::Sender<Frame>,
}

impl Connection {
    /// Speaks over an upgraded connection. Its tasks end with it.
    pub(super) fn new<T>(stream: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, mut writer) = tokio::io::split(stream);
        let (out, mut frames) = mpsc::channel::<Frame>(OUTGOING);
        stdx::task::spawn("spdy-write", async move {
            let mut buffer = BytesMut::new();
            while let Some(frame) = frames.recv().await {
                frame::write(&frame, &mut buffer);
                while let Ok(frame) = frames.try_recv() {
                    frame::write(&frame, &mut buffer);
                }
                if writer.write_all(&buffer).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
                buffer.clear();
            }
            let _ = writer.shutdown().await;
        });
        let (accepted, accept) = mpsc::channel(WAITING);
        let reading = Reading { reader, out: out.clone(), accepted, streams: HashMap::new() };
        stdx::task::spawn("spdy-read", async move {
            if let Err(error) = reading.run().await {
                tracing::debug!(%error, "SPDY connection ended early");
            }
        });
        Self { accept, out }
    }

    /// The next stream that the client opens; `None` when the connection has ended.
    pub(super) async fn accept(&mut self) -> Option<Stream> {
        self.accept.recv().await
    }

    /// Waits until the client has gone.
    pub(super) async fn gone(&self) {
        self.out.closed().await;
    }
}

/// The task that reads.
struct Reading<R> {
    reader: ReadHalf<R>,
    out: mpsc::Sender<Frame>,
    accepted: mpsc::Sender<Stream>,
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
}

impl<R: AsyncRead + AsyncWrite> Reading<R> {
    async fn run(mut self) -> io::Result<()> {
        let mut headers = headers::Reader::new();
        let replies = Arc::new(Mutex::new(headers::Writer::new()));
        let mut reader = tokio::io::BufReader::new(&mut self.reader);
        while let Some(frame) = frame::read(&mut reader).await? {
            match frame {
                Frame::Open { stream, fin, block } => {
                    let headers = headers.read(&block)?;
                    if self.streams.len() >= STREAMS {
                        let _ = self.out.send(Frame::Reset { stream, status: REFUSED }).await;
                        continue;
                    }
                    let (sender, incoming) = mpsc::channel(INCOMING);
                    if !fin {
                        self.streams.insert(stream, sender);
                    }
                    let (out, replies) = (self.out.clone(), replies.clone());
                    let opened = Stream { id: stream, headers, incoming, out, replies };
                    if self.accepted.send(opened).await.is_err() {
                        return Ok(());
                    }
                }
                Frame::Data { stream, fin, bytes } => {
                    if let Some(sender) = self.streams.get(&stream)
                        && !bytes.is_empty()
                    {
                        // A reader that has gone needs nothing more.
                        let _ = sender.send(bytes).await;
                    }
                    if fin {
                        self.streams.remove(&stream);
                    }
                }
                Frame::Reset { stream, .. } => {
                    self.streams.remove(&stream);
                }
                Frame::Ping(id) if id % 2 == 1 => {
                    let _ = self.out.send(Frame::Ping(id)).await;
                }
                Frame::Goaway => return Ok(()),
                Frame::Ping(_) | Frame::Reply { .. } | Frame::Other => {}
            }
        }
        Ok(())
    }
}

impl Stream {
    /// A header's value; empty when there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Takes the stream.
    pub(super) async fn reply(&self) -> io::Result<()> {
        // The lock covers sending: blocks must go out in the order in which they were compressed.
        let mut replies = self.replies.lock().await;
        let block = replies.write(&Headers::new())?.into();
        let sent = self.out.send(Frame::Reply { stream: self.id, block }).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// The sending half.
    pub(super) fn sender(&self) -> Sender {
        Sender { id: self.id, out: self.out.clone() }
    }
}

impl Sender {
    /// Sends bytes; an error when the connection has ended.
    pub(super) async fn send(&self, bytes: Bytes) -> io::Result<()> {
        let sent = self.out.send(Frame::Data { stream: self.id, fin: false, bytes }).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Says that no more will come.
    pub(super) async fn finish(&self) {
        let last = Frame::Data { stream: self.id, fin: true, bytes: Bytes::new() };
        let _ = self.out.send(last).await;
    }

    /// Sends everything that a reader gives, then half-closes.
    pub(super) async fn send_all<R: AsyncRead + Unpin>(&self, mut from: R) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(32 << 10);
        loop {
            buffer.reserve(16 << 10);
            if from.read_buf(&mut buffer).await? == 0 {
                break;
            }
            self.send(buffer.split().freeze()).await?;
        }
        self.finish().await;
        Ok(())
    }
}
