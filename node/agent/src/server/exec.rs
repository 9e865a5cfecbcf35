//! exec and attach: one handler, because they differ in what they ask the runtime alone.

use http::Response;
use runtime::{Runtime, Session, Size};
use std::sync::Arc;
use std::time::Duration;
use stdx::serve::Body;
use tokio::sync::mpsc;

use super::channels::{self, Channels, Out, PIECES};
use super::request::{Request, plain};
use super::spdy::{Connection, Stream};
use super::upgrade::{self, Protocol};
use super::{Target, websocket};

/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// How long a terminal's first size is waited for.
const FIRST_SIZE: Duration = Duration::from_millis(200);
/// How long a client may take to go after it was told the status.
const GOODBYE: Duration = Duration::from_secs(5);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A new process.
    Exec,
    /// The container's own process.
    Attach,
}

/// Answers; the session goes on after the answer.
pub(super) fn serve(
    kind: Kind,
    request: Request,
    target: Target,
    runtime: Arc<dyn Runtime>,
) -> Response<Body> {
    let exec = channels::exec_of(&request.query);
    if kind == Kind::Exec && exec.command.is_empty() {
        return plain(400, "you must specify at least one command for the container");
    }
    if !(exec.stdin || exec.stdout || exec.stderr) {
        return plain(400, "you must specify at least one of stdin, stdout, stderr");
    }
    if !target.running {
        let text = format!("container {} is not running", target.name);
        return plain(400, &text);
    }
    let chosen = upgrade::choose(&request.headers);
    let Some(protocol) = chosen else {
        return plain(400, "unable to upgrade: a WebSocket or SPDY/3.1 upgrade is needed");
    };
    let (response, upgraded) = match upgrade::accept(request, &protocol) {
        Ok(accepted) => accepted,
        Err(response) => return response,
    };
    stdx::task::spawn("exec", async move {
        let Ok(upgraded) = upgraded.await else { return };
        let begin = async |exec: runtime::Exec| match kind {
            Kind::Exec => runtime.exec(&target.container, exec).await,
            Kind::Attach => runtime.attach(&target.container, exec).await,
        };
        match protocol {
            Protocol::WebSocket { base64, .. } => {
                let mut channels = websocket::channels(websocket::open(upgraded).await, base64);
                let exec = sized(exec, &mut channels).await;
                run(begin(exec).await, channels).await;
            }
            Protocol::Spdy { .. } => {
                let connection = Connection::new(hyper_util::rt::TokioIo::new(upgraded));
                let wanted = [
                    ("error", true),
                    ("stdin", exec.stdin),
                    ("stdout", exec.stdout),
                    ("stderr", exec.stderr),
                    ("resize", exec.tty),
                ];
                let Some((connection, streams)) = streams(connection, &wanted).await else {
                    return;
                };
                let (mut channels, writing) = over_spdy(streams);
                let exec = sized(exec, &mut channels).await;
                run(begin(exec).await, channels).await;
                let _ = writing.await;
                let _ = tokio::time::timeout(GOODBYE, connection.gone()).await;
            }
            Protocol::Tunnel => {}
        }
    });
    response
}

/// Waits a moment for the size of the client's terminal, which it sends first of all: a process
/// that looks at once shall see it.
async fn sized(mut exec: runtime::Exec, channels: &mut Channels) -> runtime::Exec {
    if exec.tty {
        let first = tokio::time::timeout(FIRST_SIZE, channels.resize.recv()).await;
        exec.size = first.ok().flatten();
    }
    exec
}

/// Runs a session that could be begun, or tells why it could not.
async fn run(session: runtime::Result<Session>, channels: Channels) {
    match session {
        Ok(session) => channels::carry(session, channels).await,
        Err(error) => {
            let _ = channels.out.send((Out::Error, channels::refusal(&error))).await;
        }
    }
}

/// Waits until the client has opened the wanted streams.
async fn streams(
    mut connection: Connection,
    wanted: &[(&str, bool)],
) -> Option<(Connection, Vec<Stream>)> {
    let count = wanted.iter().filter(|(_, wanted)| *wanted).count();
    let opened = tokio::time::timeout(OPENING, async {
        let mut streams = Vec::with_capacity(count);
        while streams.len() < count {
            let stream = connection.accept().await?;
            stream.reply().await.ok()?;
            streams.push(stream);
        }
        Some(streams)
    });
    let streams = opened.await.ok()??;
    Some((connection, streams))
}

/// Passes the sizes on that a stream brings, a line each.
async fn sizes(mut stream: Stream, resize: mpsc::Sender<Size>) {
    while let Some(bytes) = stream.incoming.recv().await {
        let lines = bytes.split(|byte| *byte == b'\n');
        for size in lines.filter_map(channels::size) {
            let _ = resize.send(size).await;
        }
    }
}

/// Connects streams with channels; the second part ends when all output is on its way.
fn over_spdy(streams: Vec<Stream>) -> (Channels, tokio::task::JoinHandle<()>) {
    let (out, mut outgoing) = mpsc::channel::<(Out, bytes::Bytes)>(PIECES);
    let mut stdin = mpsc::channel(1).1;
    let (resize_in, resize) = mpsc::channel::<Size>(PIECES);
    let mut senders = Vec::new();
    for stream in streams {
        let kind = stream.header("streamtype").to_owned();
        match kind.as_str() {
            "stdout" => senders.push((Out::Stdout, stream.sender())),
            "stderr" => senders.push((Out::Stderr, stream.sender())),
            "error" => senders.push((Out::Error, stream.sender())),
            "stdin" => stdin = stream.incoming,
            "resize" => {
                stdx::task::spawn("spdy-resize", sizes(stream, resize_in.clone()));
            }
            _ => {}
        }
    }
    let writing = stdx::task::spawn("spdy-output", async move {
        while let Some((to, bytes)) = outgoing.recv().await {
            let last = to == Out::Error;
            let sender = senders.iter().find(|(kind, _)| *kind == to);
            if let Some((_, sender)) = sender
                && sender.send(bytes).await.is_err()
            {
                return;
            }
            if last {
                break;
            }
        }
        for (_, sender) in &senders {
            sender.finish().await;
        }
    });
    (Channels { stdin, resize, out }, writing)
}
