//! A cluster that tests can break: members with their sockets, certificates, logs and machines.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use stdx::{
    Shutdown,
    pki::{Authority, CertSpec, write_public, write_secret},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    Config, Entry, Error, Faults, Handle, Initial, LeaderService, Member, Payload, PeerTls,
    StateMachine, member_id, start,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until something holds.
pub(super) async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited too long until {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A machine that remembers every proposal, with a disk that only a flush reaches.
#[derive(Default)]
pub(super) struct Memory {
    state: Mutex<State>,
    flushed: Mutex<State>,
    installs: AtomicU64,
    flush_takes: Mutex<Duration>,
}

#[derive(Default, Clone)]
struct State {
    meta: Option<Bytes>,
    values: Vec<String>,
}

impl Memory {
    pub(super) fn installs(&self) -> u64 {
        self.installs.load(Ordering::Relaxed)
    }

    pub(super) fn slow_down(&self, flush_takes: Duration) {
        *self.flush_takes.lock() = flush_takes;
    }

    fn lose_unflushed(&self) {
        *self.state.lock() = self.flushed.lock().clone();
    }
}

impl StateMachine for Memory {
    fn meta(&self) -> std::io::Result<Option<Bytes>> {
        Ok(self.state.lock().meta.clone())
    }

    fn apply(&self, entries: Vec<Entry>, meta: Bytes) -> std::io::Result<()> {
        let mut state = self.state.lock();
        for entry in entries {
            if let Payload::Normal(bytes) = entry.payload {
                state.values.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        state.meta = Some(meta);
        Ok(())
    }

    fn flushed_meta(&self) -> std::io::Result<Option<Bytes>> {
        Ok(self.flushed.lock().meta.clone())
    }

    fn flush(&self) -> std::io::Result<()> {
        let state = self.state.lock().clone();
        let end = std::time::Instant::now() + *self.flush_takes.lock();
        while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
            std::thread::park_timeout(left);
        }
        *self.flushed.lock() = state;
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> std::io::Result<()> {
        let state = self.state.lock().clone();
        fs::create_dir_all(dir.join("sub"))?;
        fs::write(dir.join("meta"), state.meta.unwrap_or_default())?;
        fs::write(dir.join("sub/values"), state.values.join("\n"))
    }

    fn install(&self, dir: &Path) -> std::io::Result<()> {
        let meta = Some(fs::read(dir.join("meta"))?.into());
        let values = fs::read_to_string(dir.join("sub/values"))?;
        let values = values.lines().map(ToOwned::to_owned).collect();
        *self.state.lock() = State { meta, values };
        self.installs.fetch_add(1, Ordering::Relaxed);
        self.flush()
    }
}

/// Answers with the name of the member that serves, if that leads.
struct Echo {
    handle: Arc<Mutex<Option<Handle>>>,
}

#[async_trait]
impl LeaderService for Echo {
    async fn call(&self, request: Bytes) -> Result<Bytes, Error> {
        let handle = self.handle.lock().clone().ok_or(Error::NotLeader)?;
        if !handle.is_leader() {
            return Err(Error::NotLeader);
        }
        let text = format!("{}: {:x}", String::from_utf8_lossy(&request), handle.id());
        Ok(text.into())
    }
}

struct Node {
    member: Member,
    dir: PathBuf,
    port: u16,
    machine: Arc<Memory>,
    faults: Faults,
    running: Option<(Handle, Shutdown)>,
    /// For writers, which outlive restarts.
    current: Arc<Mutex<Option<Handle>>>,
}

pub(super) struct Cluster {
    dir: PathBuf,
    authority: Authority,
    nodes: Vec<Node>,
    keep_entries: u64,
    writing: Arc<AtomicBool>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &self.nodes {
            if let Some((_, shutdown)) = &node.running {
                shutdown.trigger();
            }
        }
        fs::remove_dir_all(&self.dir).ok();
    }
}

impl Cluster {
    pub(super) async fn start(size: usize) -> Self {
        Self::with_kept_entries(size, 10_000).await
    }

    pub(super) async fn with_kept_entries(size: usize, keep_entries: u64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trireme-consensus-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let authority = Authority::create("test peers").unwrap();
        let writing = Arc::new(AtomicBool::new(true));
        let mut cluster = Self { dir, authority, nodes: Vec::new(), keep_entries, writing };
        for _ in 0..size {
            cluster.prepare_member();
        }
        for at in 0..size {
            cluster.start_member(at, Initial::New).await;
        }
        cluster
    }

    /// A member with everything but a process.
    pub(super) fn prepare_member(&mut self) -> usize {
        let at = self.nodes.len();
        let name = format!("m{at}");
        let dir = self.dir.join(&name);
        fs::create_dir_all(&dir).unwrap();
        let port = free_port();
        let issued = self.authority.issue(&CertSpec {
            cn: name.clone(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ips: vec![Ipv4Addr::LOCALHOST.into()],
            server: true,
            client: true,
        });
        let issued = issued.unwrap();
        write_public(&dir.join("ca.crt"), self.authority.cert_pem().as_bytes()).unwrap();
        write_public(&dir.join("peer.crt"), issued.cert_pem.as_bytes()).unwrap();
        write_secret(&dir.join("peer.key"), issued.key_pem.as_bytes()).unwrap();
        let peer_urls = vec![format!("https://127.0.0.1:{port}")];
        let id = member_id(&peer_urls, "test");
        let member = Member { id, name, peer_urls, learner: false };
        let machine = Arc::default();
        let current = Arc::default();
        let faults = Faults::default();
        self.nodes.push(Node { member, dir, port, machine, faults, running: None, current });
        at
    }

    pub(super) async fn start_member(&mut self, at: usize, state: Initial) {
        let initial: Vec<Member> = self.nodes.iter().map(|node| node.member.clone()).collect();
        let node = &mut self.nodes[at];
        let listen = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
        let config = Config {
            peer_urls: node.member.peer_urls.clone(),
            initial,
            state,
            tls: Some(PeerTls {
                ca: Some(node.dir.join("ca.crt")),
                cert: node.dir.join("peer.crt"),
                key: node.dir.join("peer.key"),
                ..PeerTls::default()
            }),
            cluster_token: "test".to_owned(),
            keep_entries: self.keep_entries,
            faults: node.faults.clone(),
            ..Config::new(node.member.id, &node.member.name, node.dir.join("raft"), listen)
        };
        let shutdown = Shutdown::new();
        let service = Arc::new(Echo { handle: node.current.clone() });
        let handle = start(config, node.machine.clone(), service, shutdown.clone()).await.unwrap();
        *node.current.lock() = Some(handle.clone());
        node.running = Some((handle, shutdown));
    }

    pub(super) async fn restart(&mut self, at: usize) {
        // What a crash takes away.
        self.nodes[at].machine.lose_unflushed();
        self.start_member(at, Initial::New).await;
    }

    pub(super) async fn kill(&mut self, at: usize) {
        self.nodes[at].current.lock().take();
        if let Some((handle, _)) = self.nodes[at].running.take() {
            handle.kill().await;
        }
    }

    pub(super) async fn stop(&mut self, at: usize) {
        self.nodes[at].current.lock().take();
        if let Some((handle, shutdown)) = self.nodes[at].running.take() {
            shutdown.trigger();
            handle.closed().await.unwrap();
        }
    }

    pub(super) fn handle(&self, at: usize) -> &Handle {
        &self.nodes[at].running.as_ref().expect("the member runs").0
    }

    /// What is wrong with a member's disk.
    pub(super) fn faults(&self, at: usize) -> &Faults {
        &self.nodes[at].faults
    }

    /// Has other members find one at another port.
    pub(super) fn set_peer_port(&mut self, at: usize, port: u16) {
        let member = &mut self.nodes[at].member;
        member.peer_urls = vec![format!("https://127.0.0.1:{port}")];
        member.id = member_id(&member.peer_urls, "test");
    }

    pub(super) fn port(&self, at: usize) -> u16 {
        self.nodes[at].port
    }

    pub(super) fn machine(&self, at: usize) -> &Arc<Memory> {
        &self.nodes[at].machine
    }

    pub(super) fn member(&self, at: usize) -> Member {
        self.nodes[at].member.clone()
    }

    pub(super) fn id(&self, at: usize) -> u64 {
        self.nodes[at].member.id
    }

    pub(super) fn values(&self, at: usize) -> Vec<String> {
        self.nodes[at].machine.state.lock().values.clone()
    }

    /// Running members but this one.
    pub(super) fn others(&self, not: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| *at != not && self.nodes[*at].running.is_some()).collect()
    }

    /// Waits until a running member leads.
    pub(super) async fn leader(&self) -> usize {
        let leads = |at: &usize| {
            self.nodes[*at].running.as_ref().is_some_and(|(handle, _)| handle.is_leader())
        };
        wait_until("there is a leader", || (0..self.nodes.len()).any(|at| leads(&at))).await;
        (0..self.nodes.len()).find(leads).expect("it has just been seen")
    }

    pub(super) async fn propose(&self, at: usize, value: &str) -> Result<(), Error> {
        self.handle(at).propose(Bytes::from(value.to_owned())).await
    }

    /// As the store does it: again when the proposal is known to be lost and was not met.
    pub(super) async fn propose_until_done(&self, at: usize, value: &str) {
        let machine = self.nodes[at].machine.clone();
        propose_until_done(self.handle(at), &machine, value).await.unwrap();
    }

    /// Waits until all running members have applied the same.
    pub(super) async fn wait_level(&self) {
        let applied = || -> Vec<u64> {
            let running = self.nodes.iter().filter_map(|node| node.running.as_ref());
            running.map(|(handle, _)| handle.applied()).collect()
        };
        let last = || -> Vec<u64> {
            let running = self.nodes.iter().filter_map(|node| node.running.as_ref());
            running.map(|(handle, _)| handle.status().last_log).collect()
        };
        wait_until("all members are level", || {
            let (applied, last) = (applied(), last());
            let busy = self.writing.load(Ordering::Relaxed) && !self.is_quiet();
            let top = last.iter().max().copied().unwrap_or(0);
            let slack = if busy { 50 } else { 0 };
            applied.iter().all(|at| *at + slack >= top)
        })
        .await;
    }

    fn is_quiet(&self) -> bool {
        // Writers hold a clone of the flag.
        Arc::strong_count(&self.writing) == 1
    }

    pub(super) async fn wait_values(&self, expected: &[&str]) {
        wait_until("all members hold the values", || {
            (0..self.nodes.len()).all(|at| self.values(at) == expected)
        })
        .await;
    }

    /// Proposes through one member, whenever it runs, until told to stop. Gives back what was
    /// acknowledged.
    pub(super) fn spawn_writer(&self, at: usize) -> JoinHandle<Vec<String>> {
        let current = self.nodes[at].current.clone();
        let machine = self.nodes[at].machine.clone();
        let writing = self.writing.clone();
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut number = 0;
            while writing.load(Ordering::Relaxed) {
                let handle = current.lock().clone();
                let Some(handle) = handle else {
                    sleep(Duration::from_millis(5)).await;
                    continue;
                };
                number += 1;
                let value = format!("writer {at}.{number}");
                if propose_until_done(&handle, &machine, &value).await.is_ok() {
                    acknowledged.push(value);
                }
            }
            acknowledged
        })
    }

    pub(super) fn stop_writers(&self) {
        self.writing.store(false, Ordering::Relaxed);
    }
}

pub(super) async fn propose_until_done(
    handle: &Handle,
    machine: &Memory,
    value: &str,
) -> Result<(), Error> {
    loop {
        let met = || machine.state.lock().values.iter().rev().take(500).any(|v| v == value);
        match handle.propose(Bytes::from(value.to_owned())).await {
            Ok(()) => return Ok(()),
            Err(Error::LeaderChanged) if met() => return Ok(()),
            Err(Error::LeaderChanged) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A port that nobody holds, outside the range that outgoing connections take theirs from: a member that is down
/// keeps its port.
fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    loop {
        let at = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = 10_000 + (std::process::id() * 61 + at) % 20_000;
        let port = u16::try_from(port).unwrap();
        if std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
