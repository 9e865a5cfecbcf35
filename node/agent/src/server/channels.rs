//! The channels of an exec or attach, whatever carries them: input and sizes come in, output and the final status go
//! out.

use api::status::Status;
use bytes::{Bytes, BytesMut};
use runtime::{Exec, Session, Size};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Pieces of output that wait for a slow client.
pub(super) const PIECES: usize = 32;
/// Bytes read at once.
const PIECE: usize = 16 << 10;

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The final status.
    Error,
}

/// Both ends of a carrier.
pub(super) struct Channels {
    /// Input; its end is end of input.
    pub stdin: mpsc::Receiver<Bytes>,
    /// New sizes of the terminal.
    pub resize: mpsc::Receiver<Size>,
    /// Output.
    pub out: mpsc::Sender<(Out, Bytes)>,
}

/// A terminal's size as clients send it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireSize {
    width: u16,
    height: u16,
}

/// Reads a size.
pub(super) fn size(bytes: &[u8]) -> Option<Size> {
    let size: WireSize = serde_json::from_slice(bytes).ok()?;
    Some(Size { width: size.width, height: size.height })
}

/// What the request's query asks for.
pub(super) fn exec_of(query: &[(String, String)]) -> Exec {
    let flag = |name: &str| query.iter().any(|(k, v)| k == name && (v == "1" || v == "true"));
    let command = query.iter().filter(|(key, _)| key == "command");
    Exec {
        command: command.map(|(_, value)| value.clone()).collect(),
        stdin: flag("input"),
        stdout: flag("output"),
        // A terminal has one output.
        stderr: flag("error") && !flag("tty"),
        tty: flag("tty"),
        size: None,
        env: Vec::new(),
    }
}

/// Carries a session to its end; the last piece of output is its status.
pub(super) async fn carry(session: Session, channels: Channels) {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let Channels { stdin: mut input, resize: mut sizes, out } = channels;
    let feeding = stdx::task::spawn("exec-input", async move {
        let Some(mut stdin) = stdin else { return };
        while let Some(bytes) = input.recv().await {
            if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
                return;
            }
        }
        let _ = stdin.shutdown().await;
    });
    let sizing = stdx::task::spawn("exec-resize", async move {
        while let Some(size) = sizes.recv().await {
            if resize.send(size).await.is_err() {
                return;
            }
        }
    });
    let output = async {
        tokio::join!(pump(stdout, Out::Stdout, &out), pump(stderr, Out::Stderr, &out));
        exit.await
    };
    let ended = tokio::select! {
        ended = output => Some(ended),
        // The client has gone: dropping the session ends the process.
        () = out.closed() => None,
    };
    feeding.abort();
    sizing.abort();
    let status = match ended {
        None => return,
        Some(Ok(Ok(code))) => status_of(code),
        Some(Ok(Err(error))) => refusal(&error),
        Some(Err(_)) => failure("the process ended and nobody knows how"),
    };
    let _ = out.send((Out::Error, status)).await;
}

async fn pump(
    from: Option<Box<dyn AsyncRead + Send + Unpin>>,
    to: Out,
    out: &mpsc::Sender<(Out, Bytes)>,
) {
    let Some(mut from) = from else { return };
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        buffer.reserve(PIECE);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if out.send((to, buffer.split().freeze())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The status of a process that ended by itself.
fn status_of(code: i32) -> Bytes {
    if code == 0 {
        return Bytes::from_static(br#"{"metadata":{},"status":"Success"}"#);
    }
    let message = format!("command terminated with non-zero exit code: exit status {code}");
    let status = serde_json::json!({
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    });
    status.to_string().into()
}

/// The status of a process that could not be started.
pub(super) fn refusal(error: &runtime::Error) -> Bytes {
    failure(&format!("error executing command in container: {}", stdx::chain(error)))
}

/// The status of something that went wrong on our side.
pub(super) fn failure(text: &str) -> Bytes {
    let mut status = Status::internal(text).to_value();
    status["message"] = format!("Internal error occurred: {text}").into();
    status.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_told_as_a_cause() {
        let status: serde_json::Value = serde_json::from_slice(&status_of(7)).expect("JSON");
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "7");
        let status: serde_json::Value = serde_json::from_slice(&status_of(0)).expect("JSON");
        assert_eq!(status["status"], "Success");
    }

    #[test]
    fn a_query_names_the_command_and_its_streams() {
        let pairs =
            [("command", "sh"), ("command", "-c"), ("input", "1"), ("tty", "true"), ("error", "1")];
        let query: Vec<_> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let exec = exec_of(&query);
        assert_eq!(exec.command, ["sh", "-c"]);
        assert!(exec.stdin && exec.tty && !exec.stdout && !exec.stderr);
    }
}
