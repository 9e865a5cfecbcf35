//! The process that stands between the agent and one container, so that the agent may die.
//!
//! It is this very binary started as `trireme shim DIR`, in a session of its own. It starts the OCI
//! runtime, becomes the parent of the container's process (as *subreaper*: orphans below it become
//! its children), keeps its input and output, writes its log, answers on a socket in DIR, and
//! writes `exit.json` when it is over. Then it ends.
//!
//! The order of events: DIR holds `shim.json` and the bundle; the shim creates the container and
//! answers one line on its standard output; `Start` on the socket starts it; at the end the log is
//! complete before `exit.json` is written, and that before anybody is told.

pub mod client;
mod container;
mod hub;
pub mod protocol;
pub mod pty;
mod server;

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a shim must know; the file `shim.json` in its directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The container.
    pub id: String,
    /// The OCI runtime's program.
    pub runtime: PathBuf,
    /// The OCI runtime's state directory.
    pub runtime_root: PathBuf,
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether its input stays open.
    pub stdin: bool,
    /// Whether its input closes after the first attach.
    pub stdin_once: bool,
    /// The log file.
    pub log_path: Option<PathBuf>,
    /// Bytes after which the log is rotated.
    pub log_max_bytes: u64,
    /// Log files kept.
    pub log_max_files: usize,
    /// The container's cgroup, to learn of kills for want of memory.
    pub cgroup: String,
}

/// What a shim writes down about its container; the file `state.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// First process of the container.
    pub pid: Option<i32>,
    /// When it was started, nanoseconds since 1970; 0 before.
    pub started_at: i64,
}

/// The first line that a shim says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Hello {
    /// The container is made.
    Created,
    /// It could not be made.
    Failed(String),
}

/// Settings, in a shim's directory.
pub const SETTINGS: &str = "shim.json";
/// Progress, in a shim's directory.
pub const PROGRESS: &str = "state.json";
/// The exit, in a shim's directory.
pub const EXIT: &str = "exit.json";
/// The socket, in a shim's directory.
pub const SOCKET: &str = "shim.sock";

/// In place of a directory: be the first process of a process namespace.
pub(crate) const PAUSE: &str = "--pause";

/// The subcommand `shim`: `args` are the words after it. Answers the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let mut args = args.into_iter();
    let (Some(dir), None) = (args.next(), args.next()) else {
        tracing::error!("usage: trireme shim DIRECTORY (started by the node agent only)");
        return 2;
    };
    if dir == PAUSE {
        return pause();
    }
    // A group leader cannot make a session; then it has one already that nobody else shares.
    let _ = nix::unistd::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = match (nix::sys::prctl::set_child_subreaper(true), runtime) {
        (Ok(()), Ok(runtime)) => runtime.block_on(container::run(Path::new(&dir))),
        (Err(error), _) => Err(error.into()),
        (_, Err(error)) => Err(error),
    };
    match served {
        Ok(()) => 0,
        Err(error) => {
            say(&Hello::Failed(error.to_string()));
            1
        }
    }
}

/// Lives until it is killed, and reaps what becomes its child.
fn pause() -> i32 {
    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let _ = nix::unistd::setsid();
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return 1;
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                let reap = || waitpid(None, Some(WaitPidFlag::WNOHANG));
                while reap().is_ok_and(|status| status != WaitStatus::StillAlive) {}
            }
            Ok(_) => return 0,
            Err(_) => return 1,
        }
    }
}

/// Says the first line to whoever started the shim, and nothing afterwards.
fn say(hello: &Hello) {
    use std::io::Write;
    let mut line = serde_json::to_string(hello).expect("strings only");
    line.push('\n');
    // The agent may be gone already; then nobody needs to know.
    let _ = std::io::stdout().write_all(line.as_bytes());
    let _ = std::io::stdout().flush();
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(null);
    }
}

/// The time, nanoseconds since 1970.
pub fn now_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
