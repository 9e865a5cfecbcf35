//! Three `trireme store` processes on loopback, which tests kill, stop, continue and start again.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{HashKvRequest, HashKvResponse, StatusRequest};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use crate::{binary, until_some};

/// How many members a group has.
pub const MEMBERS: usize = 3;
/// Longest time for one question about a member.
const ASK: Duration = Duration::from_secs(1);
/// Tells the groups of one process apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Three members. Dropping it kills them; their directory stays when a test panics.
pub struct Members {
    dir: PathBuf,
    /// `host:port` of each one, for clients and for members.
    addresses: Vec<(String, String)>,
    processes: Vec<Option<Child>>,
}

impl Members {
    /// Starts a new group and waits until somebody leads it.
    pub async fn start() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let dir = std::env::temp_dir().join(format!("trireme-members-{process}-{number}"));
        let _ = std::fs::remove_dir_all(&dir);
        let addresses = free_addresses(process)?;
        let processes = (0..MEMBERS).map(|_| None).collect();
        let mut members = Self { dir, addresses, processes };
        for at in 0..MEMBERS {
            members.boot(at)?;
        }
        for at in 0..MEMBERS {
            until_some("a member knows the leader", || members.leader_by(at)).await;
        }
        Ok(members)
    }

    /// Starts a member on what it has.
    pub fn boot(&mut self, at: usize) -> Result<()> {
        let home = self.dir.join(format!("m{at}"));
        std::fs::create_dir_all(&home)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("m{at}.log")))?;
        let (client, peer) = &self.addresses[at];
        let initial: Vec<String> = (0..MEMBERS)
            .map(|member| format!("m{member}=http://{}", self.addresses[member].1))
            .collect();
        let child = Command::new(binary())
            .arg("store")
            .arg(format!("--name=m{at}"))
            .arg(format!("--data-dir={}", home.join("data").display()))
            .arg(format!("--listen-client-urls=http://{client}"))
            .arg(format!("--advertise-client-urls=http://{client}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster={}", initial.join(",")))
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting trireme store")?;
        self.processes[at] = Some(child);
        Ok(())
    }

    /// Kills a member as a crash would.
    pub async fn kill(&mut self, at: usize) -> Result<()> {
        let mut child = self.processes[at].take().context("it does not run")?;
        if let Some(status) = child.try_wait()? {
            bail!("member {at} had ended by itself: {status}");
        }
        child.kill().await.context("killing a member")
    }

    /// Makes a member stand still: it neither runs nor ends.
    pub fn freeze(&self, at: usize) -> Result<()> {
        self.signal(at, Signal::SIGSTOP)
    }

    /// Lets a frozen member go on.
    pub fn thaw(&self, at: usize) -> Result<()> {
        self.signal(at, Signal::SIGCONT)
    }

    fn signal(&self, at: usize, signal: Signal) -> Result<()> {
        let child = self.processes[at].as_ref().context("it does not run")?;
        let pid = i32::try_from(child.id().context("it has ended")?)?;
        kill(Pid::from_raw(pid), signal).context("signalling a member")
    }

    /// Members that ended although nobody killed them.
    pub fn ended(&mut self) -> Vec<usize> {
        let ended = |child: &mut Option<Child>| {
            child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
        };
        self.processes.iter_mut().enumerate().filter_map(|(at, c)| ended(c).then_some(at)).collect()
    }

    /// A connection of its own to a member, made when it is first used.
    pub fn channel(&self, at: usize) -> Channel {
        let url = format!("http://{}", self.addresses[at].0);
        let endpoint = Endpoint::from_shared(url).expect("a host and a port make a URL");
        endpoint.connect_timeout(ASK).connect_lazy()
    }

    /// The member that leads, as far as any running one knows.
    pub async fn leader(&self) -> Option<usize> {
        let mut newest = None;
        for at in 0..MEMBERS {
            if let Some((leader, _, term)) = self.status(at).await
                && newest.is_none_or(|(known, _)| term > known)
            {
                newest = Some((term, leader));
            }
        }
        let (_, leader) = newest?;
        for at in 0..MEMBERS {
            if self.status(at).await.is_some_and(|(_, id, _)| id == leader) {
                return Some(at);
            }
        }
        None
    }

    /// The leader's id as one member knows it.
    async fn leader_by(&self, at: usize) -> Option<u64> {
        self.status(at).await.map(|(leader, ..)| leader).filter(|leader| *leader != 0)
    }

    /// A member's leader, its own id and its term.
    async fn status(&self, at: usize) -> Option<(u64, u64, u64)> {
        let mut client = MaintenanceClient::new(self.channel(at));
        let answer = tokio::time::timeout(ASK, client.status(StatusRequest {})).await.ok()?;
        let answer = answer.ok()?.into_inner();
        let header = answer.header?;
        Some((answer.leader, header.member_id, answer.raft_term))
    }

    /// A member's hash of all keys up to a revision; nothing when it does not answer or is not that
    /// far.
    pub async fn hash(&self, at: usize, revision: i64) -> Option<HashKvResponse> {
        let mut client = MaintenanceClient::new(self.channel(at));
        let answer = client.hash_kv(HashKvRequest { revision });
        Some(tokio::time::timeout(ASK, answer).await.ok()?.ok()?.into_inner())
    }

    /// The last lines of the members' logs.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for at in 0..MEMBERS {
            let path = self.dir.join(format!("m{at}.log"));
            let content = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = content.lines().collect();
            let from = lines.len().saturating_sub(12);
            text.push_str(&format!("--- {}\n{}\n", path.display(), lines[from..].join("\n")));
        }
        text
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.logs());
            return;
        }
        for child in self.processes.iter_mut().flatten() {
            let _ = child.start_kill();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Ports that nobody uses. They are on a loopback address of this process alone, so that no
/// connection takes one as its own end while its member is down.
fn free_addresses(process: u32) -> Result<Vec<(String, String)>> {
    let [_, high, middle, low] = process.to_be_bytes();
    let host = format!("127.{}.{middle}.{low}", 64 + high % 64);
    let listeners: Vec<_> = (0..2 * MEMBERS)
        .map(|_| std::net::TcpListener::bind((host.as_str(), 0)))
        .collect::<Result<_, _>>()?;
    let ports: Vec<String> = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.to_string()))
        .collect::<Result<_>>()?;
    Ok(ports.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}
