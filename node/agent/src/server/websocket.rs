//! Channels over WebSocket: each message begins with the number of its channel. Version 5 can close a channel.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use runtime::Size;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, frame::coding::CloseCode};

use super::channels::{self, Channels, Out, PIECES};

/// Channel numbers.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that its sender has closed.
const CLOSE: u8 = 255;

/// Protocols of exec and attach, best first, and whether each carries text in base64.
pub(super) const PROTOCOLS: [(&str, bool); 5] = [
    ("v5.channel.k8s.io", false),
    ("v4.channel.k8s.io", false),
    ("v4.base64.channel.k8s.io", true),
    ("channel.k8s.io", false),
    ("base64.channel.k8s.io", true),
];
/// The protocol that carries SPDY frames in WebSocket messages.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// How long a client may take to close after it was told the status.
const GOODBYE: Duration = Duration::from_secs(5);
/// Bytes that wait in each direction of a tunnel.
const TUNNEL_BUFFER: usize = 64 << 10;

/// A WebSocket on an upgraded connection.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Begins to speak WebSocket.
pub(super) async fn open(upgraded: Upgraded) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await
}

/// Connects a socket with channels: the carrier's task ends with the session or the client.
pub(super) fn channels(socket: Socket, base64: bool) -> Channels {
    let (stdin_in, stdin) = mpsc::channel(PIECES);
    let (resize_in, resize) = mpsc::channel(PIECES);
    let (out, outgoing) = mpsc::channel(PIECES);
    let incoming = Incoming { stdin: Some(stdin_in), resize: resize_in, base64 };
    stdx::task::spawn("websocket", run(socket, incoming, outgoing, base64));
    Channels { stdin, resize, out }
}

/// What comes from the client.
struct Incoming {
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<Size>,
    base64: bool,
}

impl Incoming {
    /// Takes a message's bytes.
    async fn take(&mut self, bytes: Bytes) {
        let Some((&channel, _)) = bytes.split_first() else { return };
        let rest = bytes.slice(1..);
        if self.base64 {
            // The channel is a digit then.
            let decoded = STANDARD.decode(&rest).unwrap_or_default();
            return self.deliver(channel.wrapping_sub(b'0'), decoded.into()).await;
        }
        self.deliver(channel, rest).await;
    }

    async fn deliver(&mut self, channel: u8, bytes: Bytes) {
        match channel {
            STDIN => {
                if let Some(stdin) = &self.stdin
                    && !bytes.is_empty()
                    && stdin.send(bytes).await.is_err()
                {
                    self.stdin = None;
                }
            }
            RESIZE => {
                if let Some(size) = channels::size(&bytes) {
                    // Whoever does not listen has no terminal.
                    let _ = self.resize.send(size).await;
                }
            }
            CLOSE if bytes.first() == Some(&STDIN) => self.stdin = None,
            _ => {}
        }
    }
}

async fn run(
    socket: Socket,
    mut incoming: Incoming,
    mut outgoing: mpsc::Receiver<(Out, Bytes)>,
    base64: bool,
) {
    let (mut sink, mut source) = socket.split();
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(bytes) => incoming.take(bytes).await,
                Message::Text(text) => incoming.take(Bytes::copy_from_slice(text.as_bytes())).await,
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    let writing = async {
        while let Some((channel, bytes)) = outgoing.recv().await {
            let last = channel == Out::Error;
            if sink.send(message(channel, &bytes, base64)).await.is_err() || last {
                break;
            }
        }
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sink.send(Message::Close(Some(close))).await;
    };
    let mut reading = std::pin::pin!(reading);
    tokio::select! {
        () = &mut reading => return,
        () = writing => {}
    }
    let _ = tokio::time::timeout(GOODBYE, reading).await;
}

fn message(channel: Out, bytes: &[u8], base64: bool) -> Message {
    let number = match channel {
        Out::Stdout => STDOUT,
        Out::Stderr => STDERR,
        Out::Error => ERROR,
    };
    if base64 {
        return Message::text(format!("{number}{}", STANDARD.encode(bytes)));
    }
    let mut all = Vec::with_capacity(bytes.len() + 1);
    all.push(number);
    all.extend_from_slice(bytes);
    Message::binary(all)
}

/// A byte stream whose bytes travel in binary messages.
pub(super) fn tunnel(socket: Socket) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(TUNNEL_BUFFER);
    stdx::task::spawn("websocket-tunnel", async move {
        let (from, to) = tokio::io::split(ours);
        carry(socket, from, to).await;
    });
    theirs
}

async fn carry<R, W>(socket: Socket, mut from: R, mut to: W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut sink, mut source) = socket.split();
    let reading = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(bytes) if to.write_all(&bytes).await.is_err() => {
                    return;
                }
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    let writing = async {
        let mut buffer = bytes::BytesMut::new();
        loop {
            buffer.reserve(16 << 10);
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if sink.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                        return;
                    }
                }
            }
        }
        let _ = sink.send(Message::Close(None)).await;
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
