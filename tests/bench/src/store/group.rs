//! Three members of one rival on loopback, and what they use.

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long a group may take to serve.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time for an election after members stood still.
const SETTLE: Duration = Duration::from_secs(1);
/// Ticks of a second in `/proc/PID/stat`.
const TICKS: u64 = 100;

/// A program that is a store.
pub(super) struct Rival {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// Where it is.
    pub(super) program: PathBuf,
    /// What comes before etcd's flags.
    pub(super) command: &'static [&'static str],
}

/// Three members that run. Dropping it kills them.
pub(super) struct Group {
    members: Vec<Child>,
    name: &'static str,
    client_ports: Vec<u16>,
    /// Their client URLs.
    pub(super) endpoints: String,
}

/// What all members used since they started.
pub(super) struct Usage {
    /// Processor time in microseconds.
    pub(super) processor_micros: u64,
    /// Bytes written to disk.
    pub(super) written: u64,
    /// Resident bytes now.
    pub(super) memory: u64,
}

impl Group {
    /// Starts three members and waits until each serves a linearizable read.
    pub(super) async fn start(rival: &Rival, dir: &Path) -> Result<Self> {
        let ports = free_ports(6)?;
        let url = |at: usize| format!("http://127.0.0.1:{}", ports[at]);
        let initial: Vec<String> =
            (0..3).map(|member| format!("m{member}={}", url(member + 3))).collect();
        let mut members = Vec::new();
        for member in 0..3 {
            let home = dir.join(format!("m{member}"));
            std::fs::create_dir_all(&home)?;
            let log = std::fs::File::create(dir.join(format!("m{member}.log")))?;
            let child = Command::new(&rival.program)
                .args(rival.command)
                .arg(format!("--name=m{member}"))
                .arg(format!("--data-dir={}", home.join("data").display()))
                .arg(format!("--listen-client-urls={}", url(member)))
                .arg(format!("--advertise-client-urls={}", url(member)))
                .arg(format!("--listen-peer-urls={}", url(member + 3)))
                .arg(format!("--initial-advertise-peer-urls={}", url(member + 3)))
                .arg(format!("--initial-cluster={}", initial.join(",")))
                .arg("--initial-cluster-state=new")
                .current_dir(&home)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("starting {}", rival.program.display()))?;
            members.push(child);
        }
        let urls: Vec<String> = (0..3).map(url).collect();
        let client_ports = ports[..3].to_vec();
        let group = Self { members, name: rival.name, client_ports, endpoints: urls.join(",") };
        group.until_healthy().await.with_context(|| format!("logs are in {}", dir.display()))?;
        Ok(group)
    }

    async fn until_healthy(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        for port in &self.client_ports {
            while !is_healthy(*port).await {
                if Instant::now() > end {
                    bail!("{} does not serve", self.name);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Keeps all members from running, for another group to be measured alone.
    pub(super) fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on, and waits until they have found each other again.
    pub(super) async fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)?;
        tokio::time::sleep(SETTLE).await;
        self.until_healthy().await
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        for member in &self.members {
            let pid = i32::try_from(member.id().context("a member ended")?)?;
            nix::sys::signal::kill(Pid::from_raw(pid), signal)?;
        }
        Ok(())
    }

    /// What the members used.
    pub(super) fn usage(&self) -> Result<Usage> {
        let mut all = Usage { processor_micros: 0, written: 0, memory: 0 };
        for member in &self.members {
            let pid = i32::try_from(member.id().context("a member ended")?)?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let (_, rest) = stat.rsplit_once(')').context("a name in brackets")?;
            let word = |at: usize| rest.split_whitespace().nth(at).and_then(|w| w.parse().ok());
            let ticks: u64 = word(11).unwrap_or(0) + word(12).unwrap_or(0);
            all.processor_micros += ticks * 1_000_000 / TICKS;
            let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
            let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
            all.written += written.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
            all.memory += harness::resident(pid)?;
        }
        Ok(all)
    }

    /// Ends the members.
    pub(super) async fn stop(mut self) -> Result<()> {
        for member in &mut self.members {
            member.kill().await?;
        }
        Ok(())
    }
}

/// Ports that nobody uses just now.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Whether a member answers a linearizable read, as etcd's `/health` does.
async fn is_healthy(port: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.contains("\"health\":\"true\""))
    };
    let asked = tokio::time::timeout(Duration::from_secs(2), ask).await;
    asked.ok().flatten().unwrap_or(false)
}
