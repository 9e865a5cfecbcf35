//! Stores for the tests: a real etcd, or three members of our own; and gates in front of them, to cut off.

#![allow(clippy::print_stdout, reason = "a test that was skipped says so")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use stdx::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::{Config, Etcd};
use crate::storage::Storage;

/// Bytes passed on at once.
const CHUNK: usize = 16 * 1024;

/// A store that ends with the test.
pub(super) struct Backend {
    folder: PathBuf,
    process: Option<Child>,
    /// Members of our own.
    pub(super) members: Vec<(store::Handle, Shutdown)>,
    /// Where its members listen.
    pub(super) addresses: Vec<SocketAddr>,
    shutdown: Shutdown,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shutdown.trigger();
        for (_, shutdown) in &self.members {
            shutdown.trigger();
        }
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("trireme-outside-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).expect("a writable folder");
    folder
}

/// A port that is free, outside the range of outgoing connections.
fn free() -> SocketAddr {
    loop {
        let port = 10_000 + rand::random::<u16>() % 20_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Backend {
    fn new() -> Self {
        let (members, addresses) = (Vec::new(), Vec::new());
        Self { folder: folder(), process: None, members, addresses, shutdown: Shutdown::new() }
    }

    /// A real etcd, where there is one.
    pub(super) async fn etcd() -> Option<Self> {
        let home =
            || Some(Path::new(&std::env::var_os("HOME")?).join(".cache/trireme-oracles/bin"));
        let dir = std::env::var_os("TRIREME_ORACLES").map(PathBuf::from).or_else(home);
        let Some(bin) = dir.map(|dir| dir.join("etcd")).filter(|bin| bin.exists()) else {
            println!("SKIPPED: no etcd in TRIREME_ORACLES or ~/.cache/trireme-oracles/bin");
            return None;
        };
        let mut backend = Self::new();
        let address = free();
        let (client, peer) = (format!("http://{address}"), format!("http://{}", free()));
        let process = Command::new(bin)
            .arg("--data-dir")
            .arg(&backend.folder)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        backend.process = Some(process.expect("etcd starts"));
        backend.addresses = vec![address];
        Some(backend)
    }

    /// Three members of our own store, each with its client port.
    pub(super) async fn ours() -> Self {
        let mut backend = Self::new();
        let mut configs: Vec<store::Config> = (0..3)
            .map(|at| {
                let name = format!("m{at}");
                store::Config::new(&name, backend.folder.join(&name), free())
            })
            .collect();
        let initial: Vec<_> =
            configs.iter().map(|c| (c.name.clone(), c.peer_urls.clone())).collect();
        for config in &mut configs {
            config.initial.clone_from(&initial);
        }
        for config in configs {
            let shutdown = Shutdown::new();
            let handle = store::start(config, shutdown.clone()).await.expect("a member");
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            backend.addresses.push(listener.local_addr().expect("an address"));
            let (serving, until) = (handle.clone(), shutdown.clone());
            stdx::task::spawn("member", async move {
                store::serve_on(vec![listener], None, serving, until).await.expect("it serves");
            });
            backend.members.push((handle, shutdown));
        }
        backend
    }

    /// A gate in front of a member.
    pub(super) async fn gate(&self, at: usize) -> Gate {
        Gate::open(self.addresses[at % self.addresses.len()], self.shutdown.clone()).await
    }

    /// Storage on these addresses.
    pub(super) async fn storage(&self, addresses: &[SocketAddr]) -> Etcd {
        let urls = addresses.iter().map(|address| format!("http://{address}"));
        let mut config = Config::new(urls.collect());
        config.compaction = Duration::ZERO;
        Etcd::connect(&config, &self.shutdown).await.expect("the store answers")
    }

    /// Storage without gates.
    pub(super) async fn direct(&self) -> Etcd {
        let storage = self.storage(&self.addresses).await;
        storage.barrier().await.expect("somebody leads");
        storage
    }
}

/// What a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All.
    Open,
    /// Requests, but no answers.
    Mute,
    /// Nothing; connections end.
    Cut,
}

/// A way to a member that can be cut off.
pub(super) struct Gate {
    /// Where it listens.
    pub(super) address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Gate {
    async fn open(to: SocketAddr, shutdown: Shutdown) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mode, seen) = watch::channel(Mode::Open);
        stdx::task::spawn("gate", async move {
            while let Some(Ok((from, _))) = shutdown.guard(listener.accept()).await {
                if *seen.borrow() != Mode::Cut {
                    stdx::task::spawn("gate connection", pass(from, to, seen.clone()));
                }
            }
        });
        Self { address, mode }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pass(from: TcpStream, to: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(to) = TcpStream::connect(to).await else { return };
    let (mut requests, mut back) = from.into_split();
    let (mut answers, mut onward) = to.into_split();
    let mut cut = mode.clone();
    let ways = async {
        let forth = tokio::io::copy(&mut requests, &mut onward);
        let answers = async {
            let mut chunk = vec![0; CHUNK];
            loop {
                let count = answers.read(&mut chunk).await?;
                if count == 0 {
                    return std::io::Result::Ok(());
                }
                if *mode.borrow() == Mode::Open {
                    back.write_all(&chunk[..count]).await?;
                }
            }
        };
        tokio::select! {
            _ = forth => {}
            _ = answers => {}
        }
    };
    tokio::select! {
        () = ways => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}
