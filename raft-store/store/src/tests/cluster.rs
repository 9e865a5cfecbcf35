//! A cluster that tests can break.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use stdx::Shutdown;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::{Config, Error, Handle, Initial, serve_on, start};

const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until something holds.
pub(super) async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited too long until {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

struct Node {
    config: Config,
    running: Option<(Handle, Shutdown)>,
}

/// Members of one cluster in this process.
pub(super) struct Cluster {
    dir: PathBuf,
    nodes: Vec<Node>,
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

/// A port that nobody holds, outside the range that outgoing connections take theirs from: a member that is down
/// keeps its port.
pub(super) fn free_port() -> u16 {
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

/// A member that may be changed as soon as it runs.
fn fixture(name: &str, dir: PathBuf, listen: SocketAddr) -> Config {
    Config { strict_reconfig_check: false, ..Config::new(name, dir, listen) }
}

impl Cluster {
    pub(super) async fn start(size: usize) -> Self {
        Self::with(size, |_| {}).await
    }

    /// A cluster whose members' settings are changed before they start.
    pub(super) async fn with(size: usize, change: impl Fn(&mut Config)) -> Self {
        let mut cluster = Self::prepared(size, change);
        for at in 0..size {
            cluster.start_member(at).await;
        }
        cluster
    }

    /// A cluster that has not begun.
    pub(super) fn prepared(size: usize, change: impl Fn(&mut Config)) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trireme-store-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let mut configs: Vec<Config> = (0..size)
            .map(|at| {
                let name = format!("m{at}");
                let listen = (Ipv4Addr::LOCALHOST, free_port()).into();
                fixture(&name, dir.join(&name), listen)
            })
            .collect();
        let initial: Vec<_> =
            configs.iter().map(|c| (c.name.clone(), c.peer_urls.clone())).collect();
        for config in &mut configs {
            config.initial.clone_from(&initial);
            change(config);
        }
        let nodes = configs.into_iter().map(|config| Node { config, running: None }).collect();
        Self { dir, nodes }
    }

    /// All members' settings.
    pub(super) fn configs(&self) -> Vec<Config> {
        self.nodes.iter().map(|node| node.config.clone()).collect()
    }

    /// Changes a member's settings for its next start.
    pub(super) fn configure(&mut self, at: usize, change: impl Fn(&mut Config)) {
        change(&mut self.nodes[at].config);
    }

    pub(super) async fn start_member(&mut self, at: usize) {
        self.try_start(at).await.unwrap();
    }

    /// Starts a member that may not start.
    pub(super) async fn try_start(&mut self, at: usize) -> Result<(), Error> {
        let node = &mut self.nodes[at];
        let shutdown = Shutdown::new();
        let handle = start(node.config.clone(), shutdown.clone()).await?;
        node.running = Some((handle, shutdown));
        Ok(())
    }

    /// Adds a member that joins the running cluster; its place.
    pub(super) async fn join(&mut self) -> usize {
        let at = self.prepare_join();
        let urls = self.nodes[at].config.peer_urls.clone();
        let leader = self.leader().await;
        self.handle(leader).member_add(urls, false).await.unwrap();
        self.start_member(at).await;
        at
    }

    /// A member that nobody knows of yet.
    pub(super) fn prepare_join(&mut self) -> usize {
        let at = self.nodes.len();
        let name = format!("m{at}");
        let listen = (Ipv4Addr::LOCALHOST, free_port()).into();
        let mut config = fixture(&name, self.dir.join(&name), listen);
        config.state = Initial::Existing;
        let others = self.nodes.iter().map(|n| (n.config.name.clone(), n.config.peer_urls.clone()));
        config.initial.extend(others);
        self.nodes.push(Node { config, running: None });
        at
    }

    /// Ends a member as a crash would.
    pub(super) async fn kill(&mut self, at: usize) {
        if let Some((handle, _)) = self.nodes[at].running.take() {
            handle.consensus().kill().await;
        }
    }

    pub(super) async fn restart(&mut self, at: usize) {
        self.kill(at).await;
        self.start_member(at).await;
    }

    pub(super) fn handle(&self, at: usize) -> &Handle {
        &self.nodes[at].running.as_ref().expect("the member runs").0
    }

    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].running.is_some()).collect()
    }

    /// Waits until a running member leads, with all that came before applied.
    pub(super) async fn leader(&self) -> usize {
        let leads = |at: &usize| *self.handle(*at).leading().borrow();
        wait_until("there is a leader", || self.running().iter().any(&leads)).await;
        self.running().into_iter().find(|at| leads(at)).expect("it has just been seen")
    }

    pub(super) async fn follower(&self) -> usize {
        let leader = self.leader().await;
        self.running().into_iter().find(|at| *at != leader).expect("there are others")
    }

    /// Serves a member's clients; the URL.
    pub(super) async fn serve(&self, at: usize) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (handle, shutdown) = self.nodes[at].running.clone().expect("the member runs");
        tokio::spawn(async move {
            serve_on(vec![listener], None, handle, shutdown).await.unwrap();
        });
        url
    }
}
