//! The life of one container inside its shim: create, start on request, reap, record.

use super::hub::Hub;
use super::pty::Pty;
use super::{EXIT, Hello, PROGRESS, Progress, SETTINGS, Settings, now_nanos, say, server};
use crate::log::Stream;
use crate::oci::{CANNOT_START, cli::Cli};
use crate::{Exit, cgroup, image};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Output usually ends with the process; so long is waited before anybody else is ended for it.
const QUIET: Duration = Duration::from_millis(100);
/// Output that stays open even then is waited for so long.
const DRAIN: Duration = Duration::from_secs(2);
/// Clients get so long to take the last frames.
const FAREWELL: Duration = Duration::from_millis(500);

/// A container as its shim sees it.
pub(super) struct Container {
    dir: PathBuf,
    pub(super) settings: Settings,
    cli: Cli,
    pub(super) hub: Hub,
    /// How it ended, once it has.
    pub(super) exit: watch::Sender<Option<Exit>>,
    /// Where input goes.
    pub(super) input: tokio::sync::Mutex<Option<Input>>,
    /// The terminal, if it has one.
    pub(super) pty: Option<Pty>,
    progress: Mutex<Progress>,
    /// The runtime in the foreground, which mirrors a terminal.
    foreground: Mutex<Option<i32>>,
    /// How the foreground runtime ended.
    foreground_exit: Mutex<Option<Exit>>,
    /// Wakes the reaper when the foreground runtime has ended.
    ended: Notify,
    /// Connections that are being served.
    pub(super) connections: TaskTracker,
    /// Whether everything is cleaned up.
    pub(super) gone: watch::Sender<bool>,
}

/// Where input goes.
pub(super) enum Input {
    /// A pipe.
    Pipe(pipe::Sender),
    /// A terminal.
    Terminal(Pty),
}

/// Runs the whole life of the container in `dir`.
pub(super) async fn run(dir: &Path) -> io::Result<()> {
    let settings: Settings = serde_json::from_slice(&std::fs::read(dir.join(SETTINGS))?)?;
    let listener = server::bind(dir)?;
    let mut children = signal(SignalKind::child())?;
    let (container, slave, drains) = prepare(dir, settings).await?;
    let container = Arc::new(container);
    say(&Hello::Created);
    stdx::task::spawn("serve", server::serve(listener, container.clone(), slave));
    let drains = drains.into_iter().map(|drain| container.clone().spawn_drain(drain)).collect();
    let exit = loop {
        if let Some(exit) = container.reap() {
            break exit;
        }
        tokio::select! {
            _ = children.recv() => {}
            () = container.ended.notified() => {}
        }
    };
    container.finish(exit, drains).await;
    Ok(())
}

/// Creates the container, or only its terminal: with one, the runtime itself runs in the foreground
/// from the start.
async fn prepare(
    dir: &Path,
    settings: Settings,
) -> io::Result<(Container, Option<super::pty::Slave>, Vec<Drain>)> {
    let cli = Cli::new(&settings.runtime, &settings.runtime_root);
    let mut container = Container {
        dir: dir.to_owned(),
        hub: Hub::open(&settings)?,
        cli,
        exit: watch::Sender::new(None),
        input: tokio::sync::Mutex::default(),
        pty: None,
        progress: Mutex::default(),
        foreground: Mutex::default(),
        foreground_exit: Mutex::default(),
        ended: Notify::new(),
        connections: TaskTracker::new(),
        gone: watch::Sender::new(false),
        settings,
    };
    let mut drains: Vec<Drain> = Vec::new();
    let mut slave = None;
    if container.settings.tty {
        let (pty, other) = Pty::open(None)?;
        drains.push(Drain::Terminal(pty.clone()));
        container.input = tokio::sync::Mutex::new(Some(Input::Terminal(pty.clone())));
        container.pty = Some(pty);
        slave = Some(other);
    } else {
        let stdin = match container.settings.stdin {
            true => {
                let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
                let write = pipe::Sender::from_owned_fd(write)?;
                container.input = tokio::sync::Mutex::new(Some(Input::Pipe(write)));
                Stdio::from(read)
            }
            false => Stdio::null(),
        };
        let (stdout, child_stdout) = output_pipe()?;
        let (stderr, child_stderr) = output_pipe()?;
        let pid_file = dir.join("pid");
        let settings = &container.settings;
        let stdio = [stdin, child_stdout, child_stderr];
        container.cli.create(&settings.id, &settings.bundle, &pid_file, stdio).await?;
        container.progress.lock().pid = Some(read_pid(&pid_file)?);
        container.save()?;
        drains.push(Drain::Pipe(Stream::Stdout, stdout));
        drains.push(Drain::Pipe(Stream::Stderr, stderr));
    }
    Ok((container, slave, drains))
}

/// A stream to drain.
enum Drain {
    /// One end of a pipe.
    Pipe(Stream, pipe::Receiver),
    /// A terminal.
    Terminal(Pty),
}

/// A pipe for output: our end, and the process's.
fn output_pipe() -> io::Result<(pipe::Receiver, Stdio)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(read)?, write.into()))
}

/// The process id that the runtime wrote.
fn read_pid(path: &Path) -> io::Result<i32> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("pid file says {text:?}")))
}

impl Container {
    /// Starts the process.
    pub(super) async fn start(
        self: &Arc<Self>,
        slave: Option<super::pty::Slave>,
    ) -> io::Result<()> {
        match slave {
            None if self.settings.tty => Err(io::Error::other("was started before")),
            None => {
                self.cli.start(&self.settings.id).await?;
                self.progress.lock().started_at = now_nanos();
                self.save()
            }
            Some(slave) => self.start_foreground(&slave).await,
        }
    }

    /// Starts the runtime in the foreground on a terminal, and waits until the process exists.
    async fn start_foreground(self: &Arc<Self>, slave: &super::pty::Slave) -> io::Result<()> {
        let pid_file = self.dir.join("pid");
        let settings = &self.settings;
        let mut child = self.cli.run(&settings.id, &settings.bundle, &pid_file, slave.stdio()?)?;
        *self.foreground.lock() = child.id().and_then(|pid| i32::try_from(pid).ok());
        loop {
            if let Ok(pid) = read_pid(&pid_file) {
                let mut progress = self.progress.lock();
                *progress = Progress { pid: Some(pid), started_at: now_nanos() };
                break;
            }
            if child.try_wait()?.is_some() {
                *self.foreground.lock() = None;
                let reason = self.cli.last_error(&settings.bundle);
                let message = format!("OCI runtime create failed: {reason}");
                let exit = Exit { message, ..self.end(CANNOT_START, None) };
                *self.foreground_exit.lock() = Some(exit);
                self.ended.notify_one();
                return Err(io::Error::other(reason));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.save()?;
        let container = self.clone();
        stdx::task::spawn("foreground", async move { container.await_foreground(child).await });
        Ok(())
    }

    /// The foreground runtime passes the exit code on.
    async fn await_foreground(&self, mut child: Child) {
        use std::os::unix::process::ExitStatusExt;
        let (code, signal) = match child.wait().await {
            Ok(status) => (status.code().unwrap_or(255), status.signal()),
            Err(_) => (255, None),
        };
        let signal = signal.or_else(|| (code > 128 && code < 193).then_some(code - 128));
        *self.foreground.lock() = None;
        *self.foreground_exit.lock() = Some(self.end(code, signal));
        self.ended.notify_one();
    }

    /// Whether the process has ended. Only its own process is reaped here, others have their own
    /// waiters.
    fn reap(&self) -> Option<Exit> {
        if self.settings.tty {
            return self.foreground_exit.lock().clone();
        }
        let pid = Pid::from_raw(self.progress.lock().pid?);
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(self.end(code, None)),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                Some(self.end(128 + signal as i32, Some(signal as i32)))
            }
            Err(nix::Error::ECHILD) => Some(self.end(255, None)),
            _ => None,
        }
    }

    /// The record of an end.
    fn end(&self, code: i32, signal: Option<i32>) -> Exit {
        let oom = cgroup::Hierarchy::detect().map(|tree| tree.oom_kills(&self.settings.cgroup));
        Exit {
            code,
            signal,
            oom_killed: code != 0 && oom.unwrap_or_default() > 0,
            finished_at: now_nanos(),
            message: String::new(),
        }
    }

    /// Sends a signal to the process. One that is gone needs none.
    pub(super) fn kill(&self, signal: i32) -> io::Result<()> {
        if self.exit.borrow().is_some() {
            return Ok(());
        }
        let Some(pid) = self.progress.lock().pid else {
            if signal == nix::libc::SIGKILL && self.foreground.lock().is_none() {
                // With a terminal there is no process before the start: what was never started ends
                // here.
                self.foreground_exit
                    .lock()
                    .get_or_insert_with(|| self.end(128 + signal, Some(signal)));
                self.ended.notify_one();
            }
            return Ok(());
        };
        let signal = nix::sys::signal::Signal::try_from(signal)?;
        // The process is our child (or the foreground runtime's) until it is reaped: its id means
        // nobody else.
        match nix::sys::signal::kill(Pid::from_raw(pid), signal) {
            Err(nix::Error::ESRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Starts to drain a stream.
    fn spawn_drain(self: Arc<Self>, drain: Drain) -> JoinHandle<()> {
        stdx::task::spawn("drain", async move {
            match drain {
                Drain::Pipe(stream, pipe) => self.hub.drain(stream, pipe).await,
                Drain::Terminal(pty) => self.hub.drain(Stream::Stdout, pty).await,
            }
        })
    }

    /// Tells the terminal its size.
    pub(super) async fn resize(&self, size: crate::Size) {
        let mirror = *self.foreground.lock();
        if let Some(pty) = &self.pty
            && let Err(error) = pty.resize(size, mirror).await
        {
            tracing::debug!(%error, "terminal not resized");
        }
    }

    /// Completes the log, records the end, tells everybody, and cleans up.
    async fn finish(&self, exit: Exit, drains: Vec<JoinHandle<()>>) {
        let mut deleted = false;
        if self.progress.lock().pid.is_some() {
            let mut drained = futures::future::join_all(drains);
            if tokio::time::timeout(QUIET, &mut drained).await.is_err() {
                // Others of the container hold its output: they end with it.
                deleted = self.delete().await;
                let _ = tokio::time::timeout(DRAIN, drained).await;
            }
        }
        let json = serde_json::to_vec(&exit).expect("plain fields");
        if let Err(error) = image::replace_unsynced(&self.dir.join(EXIT), &json) {
            tracing::error!(error = stdx::chain(&error), "exit not recorded");
        }
        self.hub.close();
        self.exit.send_replace(Some(exit));
        if !deleted {
            self.delete().await;
        }
        self.gone.send_replace(true);
        self.connections.close();
        let _ = tokio::time::timeout(FAREWELL, self.connections.wait()).await;
    }

    /// Lets the runtime kill what is left of the container, and forget it.
    async fn delete(&self) -> bool {
        let deleted = self.cli.delete(&self.settings.id).await;
        if let Err(error) = &deleted {
            tracing::debug!(%error, "container not deleted");
        }
        deleted.is_ok()
    }

    /// Writes the progress down.
    fn save(&self) -> io::Result<()> {
        let json = serde_json::to_vec(&*self.progress.lock())?;
        image::replace_unsynced(&self.dir.join(PROGRESS), &json).map_err(io::Error::other)
    }
}
