//! One more process in a container, and joining the first one.

use super::Inner;
use super::create::write_json;
use crate::error::Doing;
use crate::session::{Reader, Size, Writer};
use crate::shim::client::{self, Connection};
use crate::shim::protocol::{Frame, Request};
use crate::shim::pty::Pty;
use crate::{ContainerState, Error, Exec, Exit, Result, Session};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};

/// Bytes on their way between an attached client and the shim.
const PIPE: usize = 64 << 10;
/// Sizes of a terminal that wait.
const SIZES: usize = 4;

impl Inner {
    /// Runs a process in a container.
    pub(super) async fn exec(&self, id: &str, exec: Exec) -> Result<Session> {
        let entry = self.entry(id)?;
        if entry.container.state != ContainerState::Running {
            let state = entry.container.state.word();
            return Err(Error::State { id: id.into(), state, wanted: "running" });
        }
        if exec.command.is_empty() {
            return Err(Error::Invalid("you must specify at least one command".into()));
        }
        let dir = self.dir(id);
        let name = format!("exec-{:08x}", rand::random::<u32>());
        let files = Files {
            process: dir.join(format!("{name}.json")),
            log: dir.join(format!("{name}.log")),
            pid: dir.join(format!("{name}.pid")),
        };
        write_json(&files.process, &process(&dir, &exec)?)?;
        let (mut pty, mut slave) = (None, None);
        let stdio = if exec.tty {
            let (ours, other) = Pty::open(exec.size).doing(|| "open a terminal".into())?;
            let stdio = other.stdio().doing(|| "open a terminal".into())?;
            (pty, slave) = (Some(ours), Some(other));
            stdio
        } else {
            let piped = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
            [piped(exec.stdin), piped(exec.stdout), piped(exec.stderr)]
        };
        let child = self.cli.exec(id, &files.process, (&files.log, &files.pid), stdio);
        let child = child.doing(|| "start the OCI runtime".into())?;
        drop(slave);
        Ok(session(child, pty, &exec, files))
    }

    /// Joins a container's own process.
    pub(super) async fn attach(&self, id: &str, exec: Exec) -> Result<Session> {
        let entry = self.entry(id)?;
        let tty = entry.container.config.tty;
        if matches!(entry.container.state, ContainerState::Exited(_) | ContainerState::Unknown) {
            let state = entry.container.state.word();
            return Err(Error::State { id: id.into(), state, wanted: "running" });
        }
        let stderr = exec.stderr && !tty;
        let stdin = exec.stdin && entry.container.config.stdin;
        let request = Request::Attach { stdin, stdout: exec.stdout, stderr };
        let connection = client::open(&self.dir(id), &request).await;
        let connection = connection
            .map_err(|error| Error::Shim { id: id.to_owned(), reason: error.to_string() })?;
        let (input, stdin_end) = tokio::io::duplex(PIPE);
        let (output, stdout_end) = tokio::io::duplex(PIPE);
        let (errors, stderr_end) = tokio::io::duplex(PIPE);
        let (resize, sizes) = mpsc::channel(SIZES);
        let (done, exit) = oneshot::channel();
        if let Some(size) = exec.size {
            let _ = resize.try_send(size);
        }
        let ends = Ends { stdin: stdin_end, stdout: stdout_end, stderr: stderr_end };
        stdx::task::spawn("attach", async move {
            if let Some(exit) = carry(connection, ends, sizes, done.is_closed()).await {
                // Nobody may wait any more.
                let _ = done.send(Ok(exit.code));
            }
        });
        Ok(Session {
            stdin: exec.stdin.then(|| Box::new(input) as Writer),
            stdout: exec.stdout.then(|| Box::new(output) as Reader),
            stderr: stderr.then(|| Box::new(errors) as Reader),
            resize,
            exit,
        })
    }
}

/// The description of a further process: the container's own with another command.
fn process(dir: &Path, exec: &Exec) -> Result<Value> {
    let path = dir.join("config.json");
    let bytes = fs::read(&path).doing(|| format!("read {}", path.display()))?;
    let config: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Invalid(format!("{} is damaged: {error}", path.display())))?;
    let mut process = config["process"].clone();
    process["args"] = json!(exec.command);
    process["terminal"] = json!(exec.tty);
    if let Some(size) = exec.size.filter(|_| exec.tty) {
        // Known before it starts, for those who look at once; later sizes come with a signal.
        process["consoleSize"] = json!({"width": size.width, "height": size.height});
    }
    if let Some(env) = process["env"].as_array_mut() {
        if exec.tty && !env.iter().any(|line| line.as_str().is_some_and(|l| l.starts_with("TERM=")))
        {
            env.push(json!("TERM=xterm"));
        }
        env.extend(exec.env.iter().map(|(name, value)| json!(format!("{name}={value}"))));
    }
    Ok(process)
}

/// Files of one exec.
struct Files {
    process: PathBuf,
    log: PathBuf,
    /// Where the runtime writes the process id.
    pid: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in [&self.process, &self.log, &self.pid] {
            // The container may have been removed with all its files.
            let _ = fs::remove_file(path);
        }
    }
}

/// Wires a process up.
fn session(mut child: Child, pty: Option<Pty>, exec: &Exec, files: Files) -> Session {
    let (resize, sizes) = mpsc::channel(SIZES);
    let (done, exit) = oneshot::channel();
    let (stdin, stdout, stderr): (Option<Writer>, Option<Reader>, Option<Reader>) = match &pty {
        Some(pty) => {
            (exec.stdin.then(|| Box::new(pty.clone()) as Writer), Some(Box::new(pty.clone())), None)
        }
        None => (
            child.stdin.take().map(|pipe| Box::new(pipe) as Writer),
            child.stdout.take().map(|pipe| Box::new(pipe) as Reader),
            child.stderr.take().map(|pipe| Box::new(pipe) as Reader),
        ),
    };
    stdx::task::spawn("exec", supervise(child, pty, sizes, done, files));
    Session { stdin, stdout, stderr, resize, exit }
}

/// Follows a process to its end; ends it when nobody waits for it any more.
async fn supervise(
    mut child: Child,
    pty: Option<Pty>,
    mut sizes: mpsc::Receiver<Size>,
    mut done: oneshot::Sender<Result<i32>>,
    files: Files,
) {
    let mirror = child.id().and_then(|pid| i32::try_from(pid).ok());
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = done.closed() => {
                abandon(child, mirror, &files.pid).await;
                return;
            }
            size = sizes.recv(), if open => match (size, &pty) {
                (Some(size), Some(pty)) => {
                    if let Err(error) = pty.resize(size, mirror).await {
                        tracing::debug!(%error, "terminal not resized");
                    }
                }
                (None, _) => open = false,
                _ => {}
            },
        }
    };
    let ended = match status {
        Ok(status) => outcome(status, &files.log),
        Err(error) => Err(error).doing(|| "wait for the process".into()),
    };
    let _ = done.send(ended);
}

/// Ends a process that nobody waits for: TERM, and soon KILL.
async fn abandon(mut child: Child, runtime: Option<i32>, pid_file: &Path) {
    let send = |pid: i32, signal| {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    };
    // The runtime passes TERM on to the process and follows it.
    if let Some(pid) = runtime {
        send(pid, nix::sys::signal::Signal::SIGTERM);
    }
    let patience = std::time::Duration::from_secs(1);
    if tokio::time::timeout(patience, child.wait()).await.is_ok() {
        return;
    }
    // While the runtime has not ended, the process has not been reaped: its id means nobody else.
    let pid = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid {
        send(pid, nix::sys::signal::Signal::SIGKILL);
        let _ = tokio::time::timeout(patience, child.wait()).await;
    }
}

/// The exit code, or why the process could not start.
fn outcome(status: ExitStatus, log: &Path) -> Result<i32> {
    use std::os::unix::process::ExitStatusExt;
    if !status.success()
        && let Some(message) = super::cli::last_error(log)
    {
        let operation = "failed to exec in container: OCI runtime exec failed";
        return Err(Error::Oci { operation, message });
    }
    Ok(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255))
}

/// The shim's side of an attached client's pipes.
struct Ends {
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
}

/// Carries bytes between an attached client and the shim; tells how the container ended.
async fn carry(
    connection: Connection,
    ends: Ends,
    mut sizes: mpsc::Receiver<Size>,
    abandoned: bool,
) -> Option<Exit> {
    if abandoned {
        return None;
    }
    let (mut sink, mut source) = connection.split();
    let Ends { mut stdin, mut stdout, mut stderr } = ends;
    let inputs = async {
        let mut buffer = vec![0; 16 << 10];
        let (mut reading, mut sizing) = (true, true);
        while reading || sizing {
            let frame = tokio::select! {
                read = stdin.read(&mut buffer), if reading => match read {
                    Ok(count) if count > 0 => Frame::Stdin(buffer[..count].to_vec().into()),
                    _ => { reading = false; Frame::StdinEnd }
                },
                size = sizes.recv(), if sizing => match size {
                    Some(size) => Frame::Resize(size),
                    None => { sizing = false; continue }
                },
            };
            sink.send(frame).await?;
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let outputs = async {
        while let Some(Ok(frame)) = source.next().await {
            let written = match frame {
                Frame::Stdout(bytes) => stdout.write_all(&bytes).await,
                Frame::Stderr(bytes) => stderr.write_all(&bytes).await,
                Frame::Exit(json) => return serde_json::from_slice(&json).ok(),
                _ => Ok(()),
            };
            if written.is_err() {
                return None;
            }
        }
        None
    };
    tokio::select! {
        exit = outputs => exit,
        _ = inputs => None,
    }
}
