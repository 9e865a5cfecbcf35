//! The command line of an OCI runtime: runc, crun, youki and others understand the same words.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The runtime gets so long for one step.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the runtime writes what went wrong, in the bundle.
const LOG: &str = "runtime.log";

/// An OCI runtime's program and its state directory.
#[derive(Clone, Debug)]
pub(crate) struct Cli {
    program: PathBuf,
    root: PathBuf,
}

impl Cli {
    /// A runtime by its program.
    pub(crate) fn new(program: &Path, root: &Path) -> Self {
        Self { program: program.to_owned(), root: root.to_owned() }
    }

    /// Its program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A command with the global options.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A command that logs into a bundle.
    fn logged(&self, bundle: &Path) -> Command {
        let mut command = self.command();
        command.arg("--log").arg(bundle.join(LOG)).args(["--log-format", "json"]);
        command
    }

    /// Makes a container whose process waits for `start`. The streams go to the process as they
    /// are.
    pub(crate) async fn create(
        &self,
        id: &str,
        bundle: &Path,
        pid_file: &Path,
        stdio: [Stdio; 3],
    ) -> io::Result<()> {
        let mut command = self.logged(bundle);
        command.args(["create", "--bundle"]).arg(bundle).arg("--pid-file").arg(pid_file).arg(id);
        let [stdin, stdout, stderr] = stdio;
        let mut child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn()?;
        drop(command);
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(status) => match status?.success() {
                true => Ok(()),
                false => Err(io::Error::other(self.last_error(bundle))),
            },
            Err(_) => {
                child.start_kill()?;
                Err(io::Error::new(io::ErrorKind::TimedOut, "the runtime does not come back"))
            }
        }
    }

    /// Runs a container in the foreground, for a terminal.
    pub(crate) fn run(
        &self,
        id: &str,
        bundle: &Path,
        pid_file: &Path,
        stdio: [Stdio; 3],
    ) -> io::Result<Child> {
        let mut command = self.logged(bundle);
        command.args(["run", "--bundle"]).arg(bundle).arg("--pid-file").arg(pid_file).arg(id);
        let [stdin, stdout, stderr] = stdio;
        command.stdin(stdin).stdout(stdout).stderr(stderr).spawn()
    }

    /// Runs one more process in a container; `process` is a file with its OCI description.
    pub(crate) fn exec(
        &self,
        id: &str,
        process: &Path,
        (log, pid_file): (&Path, &Path),
        stdio: [Stdio; 3],
    ) -> io::Result<Child> {
        let mut command = self.command();
        command.arg("--log").arg(log).args(["--log-format", "json", "exec", "--process"]);
        command.arg(process).arg("--pid-file").arg(pid_file).arg(id);
        let [stdin, stdout, stderr] = stdio;
        command.stdin(stdin).stdout(stdout).stderr(stderr).kill_on_drop(true).spawn()
    }

    /// Lets the process of a created container go.
    pub(crate) async fn start(&self, id: &str) -> io::Result<()> {
        self.simple(&["start", id]).await
    }

    /// Forgets a container, killing what still runs.
    pub(crate) async fn delete(&self, id: &str) -> io::Result<()> {
        self.simple(&["delete", "--force", id]).await
    }

    /// Changes limits; `resources` is a file with their OCI description.
    pub(crate) async fn update(&self, id: &str, resources: &Path) -> io::Result<()> {
        let path = resources.to_string_lossy();
        self.simple(&["update", "--resources", &path, id]).await
    }

    /// The first lines of `--version`.
    pub(crate) async fn version(&self) -> io::Result<String> {
        let output = Command::new(&self.program).arg("--version").output().await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a step that says little.
    async fn simple(&self, args: &[&str]) -> io::Result<()> {
        let mut command = self.command();
        command.args(args).stderr(Stdio::piped()).kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(output) => {
                let output = output?;
                if output.status.success() {
                    return Ok(());
                }
                Err(io::Error::other(message(&String::from_utf8_lossy(&output.stderr))))
            }
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the runtime does not come back"))
            }
        }
    }

    /// What the runtime complained about last in a bundle.
    pub(crate) fn last_error(&self, bundle: &Path) -> String {
        last_error(&bundle.join(LOG))
            .unwrap_or_else(|| format!("{} failed without a message", self.program.display()))
    }
}

/// The last error of a runtime's log file.
pub(crate) fn last_error(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let error = text.lines().rev().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let level = line.get("level")?.as_str()?;
        matches!(level, "error" | "fatal" | "panic")
            .then(|| line.get("msg")?.as_str().map(str::to_owned))?
    })?;
    Some(error.trim().to_owned())
}

/// The message in a runtime's complaint on standard error.
fn message(stderr: &str) -> String {
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    match last.split_once("msg=\"") {
        Some((_, rest)) => rest.trim_end_matches('"').replace("\\\"", "\""),
        None => last.trim().to_owned(),
    }
}
