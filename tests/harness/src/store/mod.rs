//! Three `trireme store` processes, which tests kill, stop, continue, replace and start again: on
//! loopback, or each on a host, a disk or with an illness of its own.

mod ask;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};

use crate::faults::disk::Disk;
use crate::faults::ill::Ill;
use crate::faults::network::Network;
use crate::faults::{self, PREFIX};
use crate::{binary, until, until_some};

/// How many members a group has.
pub const MEMBERS: usize = 3;
/// Longest time for one question about a member.
const ASK: Duration = Duration::from_secs(1);
/// Log entries that members keep for those that lag: few, so that some need a snapshot.
const KEPT_ENTRIES: u32 = 100;
/// Beginning of the name of a directory that is kept.
const KEPT: &str = "trireme-failed-";
/// Tells the groups of one process apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What members have of their own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// A host in a network.
    pub hosts: bool,
    /// A disk.
    pub disks: bool,
    /// An illness.
    pub ills: bool,
}

/// One member.
struct Member {
    name: String,
    /// `host:port` for clients, which stays the same for ever.
    client: String,
    /// `host:port` for members: another one after a replacement.
    peer: String,
    process: Option<Child>,
    /// Whether it joins a group that is there.
    joins: bool,
    replaced: u16,
}

/// Three members. Dropping it kills them; their directory stays when a test panics.
pub struct Members {
    dir: PathBuf,
    members: Vec<Member>,
    // After the processes, so that nobody uses them when they go.
    network: Option<Network>,
    disks: Vec<Disk>,
    ills: Vec<Ill>,
    /// Whether the directory stays.
    is_kept: bool,
}

impl Members {
    /// Starts a new group and waits until somebody leads it.
    pub async fn start() -> Result<Self> {
        Self::with(Own::default()).await
    }

    /// The same with what members have of their own.
    pub async fn with(own: Own) -> Result<Self> {
        faults::remove_leftovers()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let dir = std::env::temp_dir().join(format!("{PREFIX}{process}-{number}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        let network = if own.hosts { Some(Network::new(MEMBERS).await?) } else { None };
        let (disks, ills) = (Vec::new(), Vec::new());
        let mut members = Self { dir, members: Vec::new(), network, disks, ills, is_kept: false };
        for at in 0..MEMBERS {
            if own.disks {
                members.disks.push(Disk::new(&members.dir, at).await?);
            }
            if own.ills {
                members.ills.push(Ill::new(&members.dir, at).await?);
            }
            let (client, peer) = match &members.network {
                Some(network) => (network.ip(at) + ":2379", network.ip(at) + ":2380"),
                None => (free_address()?, free_address()?),
            };
            let name = format!("m{at}");
            let (process, joins, replaced) = (None, false, 0);
            members.members.push(Member { name, client, peer, process, joins, replaced });
        }
        for at in 0..MEMBERS {
            members.boot(at)?;
        }
        for at in 0..MEMBERS {
            until_some("a member knows the leader", || members.leader_by(at)).await;
        }
        Ok(members)
    }

    /// A member's disk.
    pub fn disk(&self, at: usize) -> &Disk {
        &self.disks[at]
    }

    /// A member's illness.
    pub fn ill(&self, at: usize) -> &Ill {
        &self.ills[at]
    }

    /// The network between members.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("these members have hosts of their own")
    }

    /// The member's data.
    pub fn data_dir(&self, at: usize) -> PathBuf {
        match self.disks.get(at) {
            Some(disk) => disk.path().join("data"),
            None => self.dir.join(format!("m{at}")).join("data"),
        }
    }

    /// Starts a member on what it has.
    pub fn boot(&mut self, at: usize) -> Result<()> {
        let home = self.dir.join(format!("m{at}"));
        std::fs::create_dir_all(&home)?;
        let log = std::fs::File::options().create(true).append(true).open(self.log_file(at))?;
        let Member { name, client, peer, joins, .. } = &self.members[at];
        let initial: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}=http://{}", member.name, member.peer))
            .collect();
        let mut command = match &self.network {
            Some(network) => {
                let launcher = network.launcher(at);
                let mut command = Command::new(&launcher[0]);
                command.args(&launcher[1..]).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        if let Some(ill) = self.ills.get(at) {
            command.envs(ill.environment.clone());
        }
        let child = command
            .arg("store")
            .arg(format!("--name={name}"))
            .arg(format!("--data-dir={}", self.data_dir(at).display()))
            .arg(format!("--listen-client-urls=http://{client}"))
            .arg(format!("--advertise-client-urls=http://{client}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster={}", initial.join(",")))
            .arg(format!("--initial-cluster-state={}", if *joins { "existing" } else { "new" }))
            .arg(format!("--snapshot-catchup-entries={KEPT_ENTRIES}"))
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting trireme store")?;
        self.members[at].process = Some(child);
        Ok(())
    }

    /// Kills a member as a crash would.
    pub async fn kill(&mut self, at: usize) -> Result<()> {
        let mut child = self.members[at].process.take().context("it does not run")?;
        if let Some(status) = child.try_wait()? {
            bail!("member {at} had ended by itself: {status}");
        }
        child.kill().await.context("killing a member")
    }

    /// Kills a member that may have ended by itself.
    pub async fn bury(&mut self, at: usize) -> Result<()> {
        let Some(mut child) = self.members[at].process.take() else { return Ok(()) };
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        child.kill().await.context("killing a member")
    }

    /// Waits until a member has ended by itself.
    pub async fn see_end(&mut self, at: usize) -> Result<()> {
        until("a member ends by itself", || {
            let ended = self.ended().contains(&at);
            async move { ended }
        })
        .await;
        self.bury(at).await
    }

    /// Takes a member out of the group for ever and puts a new one with an empty disk in its
    /// place, which is known to clients under the same address.
    pub async fn replace(&mut self, at: usize, id: u64) -> Result<()> {
        self.remove(at, id).await?;
        self.bury(at).await?;
        std::fs::remove_dir_all(self.data_dir(at))?;
        let peer = match &self.network {
            Some(network) => format!("{}:{}", network.ip(at), 2381 + self.members[at].replaced),
            None => free_address()?,
        };
        let member = &mut self.members[at];
        member.replaced += 1;
        member.name = format!("m{at}-{}", member.replaced);
        member.peer = peer;
        member.joins = true;
        self.add(at).await?;
        self.boot(at)
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
        let child = self.members[at].process.as_ref().context("it does not run")?;
        let pid = i32::try_from(child.id().context("it has ended")?)?;
        kill(Pid::from_raw(pid), signal).context("signalling a member")
    }

    /// Members that ended although nobody killed them.
    pub fn ended(&mut self) -> Vec<usize> {
        let ended = |member: &mut Member| {
            member.process.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
        };
        self.members.iter_mut().enumerate().filter_map(|(at, m)| ended(m).then_some(at)).collect()
    }

    fn log_file(&self, at: usize) -> PathBuf {
        self.dir.join(format!("m{at}.log"))
    }

    /// All that a member has said.
    pub fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.log_file(at)).unwrap_or_default()
    }

    /// The last lines of the members' logs.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for at in 0..self.members.len() {
            let content = self.log(at);
            let lines: Vec<&str> = content.lines().collect();
            let from = lines.len().saturating_sub(12);
            let path = self.log_file(at);
            text.push_str(&format!("--- {}\n{}\n", path.display(), lines[from..].join("\n")));
        }
        text
    }

    /// Keeps the directory, and tells the ends of the logs.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        let is_kept = self.is_kept || std::thread::panicking();
        if is_kept {
            let _ = writeln!(std::io::stderr(), "{}", self.logs());
        }
        for member in &mut self.members {
            if let Some(child) = &mut member.process {
                let _ = child.start_kill();
            }
        }
        self.disks.clear();
        if is_kept {
            // Under a name that nobody takes for a leftover.
            let name = self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kept = self.dir.with_file_name(name.replace(PREFIX, KEPT));
            let _ = std::fs::rename(&self.dir, &kept);
            let _ = writeln!(std::io::stderr(), "kept: {}", kept.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// An address that nobody uses. It is on a loopback address of this process alone, so that no
/// connection takes it as its own end while its member is down.
fn free_address() -> Result<String> {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = format!("127.{}.{middle}.{low}", 64 + high % 64);
    let listener = std::net::TcpListener::bind((host.as_str(), 0))?;
    Ok(listener.local_addr()?.to_string())
}
