//! One `trireme dev` and its hosts.

use anyhow::{Context, Result, bail};
use client::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Kubectl;

/// Tells the directories of one process's clusters apart.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// How long a cluster may take to end.
const END: Duration = Duration::from_secs(40);

/// What kind of cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Control-plane replicas.
    pub masters: usize,
    /// Nodes.
    pub nodes: usize,
    /// oci or simulated.
    pub runtime: &'static str,
    /// More flags of `trireme dev`.
    pub flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { masters: 3, nodes: 2, runtime: "oci", flags: Vec::new() }
    }
}

impl Options {
    /// Simulated nodes.
    pub fn simulated(nodes: usize) -> Self {
        Self { nodes, runtime: "simulated", ..Self::default() }
    }
}

/// A running cluster. Dropping it kills what is left; call [`stop`](Self::stop) to end it in order.
pub struct Cluster {
    dir: PathBuf,
    options: Options,
    dev: Option<Child>,
    /// Seconds that it took, as `dev` itself says.
    pub ready_line: String,
    keep: bool,
}

/// The program under test: `$TRIREME`, else the one beside the running test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TRIREME") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.ancestors().find(|path| path.join("trireme").is_file());
    folder.map(|path| path.join("trireme")).unwrap_or_else(|| {
        panic!("no trireme near {}: build it first (make build), or set TRIREME", test.display())
    })
}

impl Cluster {
    /// Starts a cluster in a new directory and waits until it is ready.
    pub async fn start(options: Options) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trireme-suite-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        let mut cluster = Self { dir, options, dev: None, ready_line: String::new(), keep: false };
        cluster.boot().await?;
        Ok(cluster)
    }

    /// Starts `dev` on this cluster's directory.
    pub async fn boot(&mut self) -> Result<()> {
        let mut child = Command::new(binary())
            .args(["dev", "--api-port=0"])
            .arg(format!("--masters={}", self.options.masters))
            .arg(format!("--nodes={}", self.options.nodes))
            .arg(format!("--runtime={}", self.options.runtime))
            .arg(format!("--data-dir={}", self.dir.display()))
            .args(&self.options.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting trireme dev")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let said = tokio::spawn(async move {
            let mut said = String::new();
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                said.push_str(&line);
                said.push('\n');
            }
            said
        });
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        self.dev = Some(child);
        match lines.next_line().await? {
            Some(line) if line.starts_with("ready") => self.ready_line = line,
            other => {
                let said = said.await.unwrap_or_default();
                bail!("trireme dev did not get ready: {other:?}\n{said}{}", self.logs());
            }
        }
        Ok(())
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps the directory after the end.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// kubectl for any living master.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl { kubeconfig: self.dir.join("kubeconfig"), context: None }
    }

    /// A client that turns to any living master.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::from_kubeconfig(self.dir.join("kubeconfig"))?)
    }

    /// A client of one master alone.
    pub fn client_of(&self, master: &str) -> Result<Client> {
        let note: Value = serde_json::from_slice(&std::fs::read(self.dir.join("cluster.json"))?)?;
        let hosts = note["hosts"].as_array().context("no hosts")?;
        let host = hosts.iter().find(|host| host["name"] == master);
        let host = host.with_context(|| format!("no host {master}"))?;
        let ip = host["ip"].as_str().context("no address")?;
        let url = format!("https://{ip}:{}", host["port"]);
        let mut config = client::kubeconfig::load(&self.dir.join("kubeconfig"))?;
        config.servers = vec![url.parse().context("the master's address")?];
        Ok(Client::remote(config)?)
    }

    /// Runs a command of ours; gives its standard output.
    pub async fn trireme(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(binary())
            .args(args)
            .arg(format!("--data-dir={}", self.dir.display()))
            .output()
            .await
            .context("running trireme")?;
        if !output.status.success() {
            bail!("trireme {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Does something to a host: kill, stop, start, cut, heal.
    pub async fn host(&self, action: &str, name: &str) -> Result<()> {
        self.trireme(&["host", action, name]).await.map(|_| ())
    }

    /// What `trireme status -o json` says.
    pub async fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.trireme(&["status", "-o", "json"]).await?)?)
    }

    /// The member that leads the store.
    pub async fn leader(&self) -> Result<String> {
        let status = self.status().await?;
        let members = status["members"].as_array().context("no members")?;
        let leader = members.iter().find(|member| member["role"] == "leader");
        let name = leader.and_then(|member| member["name"].as_str());
        Ok(name.with_context(|| format!("nobody leads: {status}"))?.to_owned())
    }

    /// Names of all masters.
    pub fn masters(&self) -> Vec<String> {
        (1..=self.options.masters).map(|at| format!("master-{at}")).collect()
    }

    /// The id of a host's process.
    pub async fn pid(&self, host: &str) -> Result<i32> {
        let status = self.status().await?;
        let all = ["members", "nodes"].iter().filter_map(|group| status[*group].as_array());
        let found = all.flatten().find(|one| one["name"] == host);
        let pid = found.and_then(|one| one["pid"].as_i64());
        Ok(i32::try_from(pid.with_context(|| format!("{host} does not run"))?)?)
    }

    /// Kills `dev` itself, as a crash would.
    pub async fn kill_dev(&mut self) -> Result<()> {
        if let Some(mut dev) = self.dev.take() {
            dev.kill().await.context("killing dev")?;
        }
        Ok(())
    }

    /// Ends everything in order.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut dev) = self.dev.take() else { return Ok(()) };
        let pid = i32::try_from(dev.id().context("dev has ended already")?)?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("ending dev")?;
        let ended = tokio::time::timeout(END, dev.wait()).await;
        let status = ended.context("dev did not end in time")??;
        if !status.success() {
            bail!("dev ended badly: {status}");
        }
        Ok(())
    }

    /// The last lines of every host's log, for the message of a failure.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let Ok(logs) = std::fs::read_dir(self.dir.join("logs")) else { return text };
        for log in logs.flatten() {
            let content = std::fs::read_to_string(log.path()).unwrap_or_default();
            let lines: Vec<&str> = content.lines().collect();
            let from = lines.len().saturating_sub(12);
            text.push_str(&format!("--- {}\n{}\n", log.path().display(), lines[from..].join("\n")));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut dev) = self.dev.take() {
            if std::thread::panicking() {
                let _ = writeln!(std::io::stderr(), "{}", self.logs());
            }
            // In order, so that namespaces and mounts go too.
            if let Some(pid) = dev.id().and_then(|pid| i32::try_from(pid).ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                let end = std::time::Instant::now() + END;
                while matches!(dev.try_wait(), Ok(None)) && std::time::Instant::now() < end {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            }
            let _ = dev.start_kill();
        }
        if !self.keep && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
