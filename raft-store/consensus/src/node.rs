//! Puts a member together, and takes it apart in the right order.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::SnapshotPolicy;
use parking_lot::Mutex;
use stdx::{
    Shutdown,
    serve::{Accept, Address, Listener},
    tls::{ClientAuth, ClientTls, Limits, ServerTls},
};
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use crate::{
    Config, Divergence, Error, Handle, Initial, LeaderService, Reserve, StateMachine,
    adapter::{Adapter, blocking},
    compaction, config, detector,
    forward::Forwarder,
    joining,
    log::LogStore,
    membership,
    net::{
        Factory,
        link::{Identity, Links},
        service,
    },
    pacemaker::{self, Pace},
    pulse,
    reads::{self, Reads},
    removal::Removed,
    seed,
    snapshot::Partial,
    types::{Applied, Membership, Node, Raft},
    view::{self, View},
};

/// Log entries in one message to a follower.
const MESSAGE_ENTRIES: u64 = 1024;
/// Deaths that a slow listener may miss.
const DEATHS: usize = 64;
/// How long a predecessor may keep the address.
const BIND_PATIENCE: Duration = Duration::from_secs(3);
/// Name of the note that says whose data this is.
const IDENTITY: &str = "identity";

/// What all tasks of a member share.
pub(crate) struct Inner {
    pub(crate) id: u64,
    pub(crate) raft: Raft,
    pub(crate) links: Arc<Links>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) forwarder: Forwarder,
    pub(crate) reads: Reads,
    pub(crate) applied: watch::Receiver<Applied>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) leader: watch::Receiver<Option<u64>>,
    pub(crate) peer_down: broadcast::Sender<u64>,
    pub(crate) outcome: watch::Sender<Option<Result<(), String>>>,
    pub(crate) service: Arc<dyn LeaderService>,
    pub(crate) keep_entries: u64,
    /// Held while the log is compacted.
    pub(crate) compacting: tokio::sync::Mutex<()>,
    pub(crate) started: Instant,
    /// Whether the first election has been hastened.
    pub(crate) hastened: AtomicBool,
    /// Ends every task of this member.
    pub(crate) stop: Shutdown,
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) log: LogStore,
    /// How regularly the leader speaks.
    pub(crate) pace: Pace,
    pub(crate) heartbeat: Duration,
    pub(crate) election: Duration,
    pub(crate) divergence: watch::Sender<Option<Divergence>>,
    pub(crate) removed: Removed,
    pub(crate) partial: Mutex<Option<Partial>>,
    scratch: PathBuf,
    reserve: Reserve,
    incoming: AtomicU64,
    /// Whether the end is wanted.
    pub(crate) ending: Mutex<bool>,
}

/// Starts a member on its configured address.
///
/// Returns as soon as it runs, which is before it has found a leader. At `shutdown` it hands over
/// leadership and ends in order; [`Handle::closed`] tells when, and whether it failed before.
pub async fn start(
    config: Config,
    machine: Arc<dyn StateMachine>,
    service: Arc<dyn LeaderService>,
    shutdown: Shutdown,
) -> Result<Handle, Error> {
    match listen(&config.listen_peer).await? {
        Listener::Tcp(listener) => start_on(listener, config, machine, service, shutdown).await,
        Listener::Unix(listener) => start_on(listener, config, machine, service, shutdown).await,
    }
}

/// Listens for members, waiting a little for a predecessor that still has the address.
pub async fn listen(address: &Address) -> Result<Listener, Error> {
    let deadline = Instant::now() + BIND_PATIENCE;
    loop {
        match address.bind().await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(source) => {
                return Err(Error::io(format!("listening for peers on {address}"), source));
            }
        }
    }
}

/// Starts a member on a socket that is already listening.
pub async fn start_on<L: Accept>(
    listener: L,
    mut config: Config,
    machine: Arc<dyn StateMachine>,
    service: Arc<dyn LeaderService>,
    shutdown: Shutdown,
) -> Result<Handle, Error> {
    config.check()?;
    let more = more_listeners(&config).await?;
    let (server_tls, client_tls) = load_tls(&config)?;
    let scratch = prepare_directory(&config)?;
    let (log, identity) = open_log(&mut config, client_tls.as_ref(), &shutdown).await?;
    let identity = Arc::new(identity);
    let network = config.world.network.clone();
    let links = Arc::new(Links::new(identity.clone(), client_tls, network));
    let (applied_in, applied) = watch::channel(Applied::default());
    let running = Arc::new(AtomicBool::new(false));
    let adapter = Adapter::new(machine.clone(), applied_in, scratch.clone(), running.clone());
    let factory = Factory { links: links.clone() };
    let raft = Raft::new(config.id, Arc::new(raft_config(&config)?), factory, log.clone(), adapter);
    let raft = raft.await.map_err(|fatal| Error::Fatal(fatal.to_string()))?;
    running.store(true, Ordering::Release);
    form_cluster(&config, &raft).await?;

    let removed = Removed::load(&log)
        .map_err(|source| Error::io("reading which members were removed", source))?;
    let (view_in, view) = watch::channel(View::of(&raft));
    let (leader_in, leader) = watch::channel(view.borrow().leader);
    let (reads, readers) = Reads::new();
    let inner = Arc::new(Inner {
        id: config.id,
        raft,
        links,
        identity,
        forwarder: Forwarder::default(),
        reads,
        applied,
        view,
        leader,
        peer_down: broadcast::Sender::new(DEATHS),
        outcome: watch::Sender::new(None),
        service,
        pace: Pace::default(),
        heartbeat: config.heartbeat,
        election: config.election,
        divergence: watch::Sender::new(None),
        removed,
        partial: Mutex::new(None),
        keep_entries: config.keep_entries,
        compacting: tokio::sync::Mutex::default(),
        started: Instant::now(),
        hastened: AtomicBool::new(false),
        stop: Shutdown::new(),
        machine,
        log,
        scratch,
        reserve: config.reserve.clone(),
        incoming: AtomicU64::new(0),
        ending: Mutex::new(false),
    });
    let senders = view::Senders { view: view_in, leader: leader_in };
    let stop = inner.stop.clone();
    serve(listener, server_tls.as_ref(), &inner);
    for listener in more {
        match listener {
            Listener::Tcp(listener) => serve(listener, server_tls.as_ref(), &inner),
            Listener::Unix(listener) => serve(listener, server_tls.as_ref(), &inner),
        }
    }
    stdx::task::spawn("consensus-view", view::follow(inner.clone(), senders));
    let reading = reads::run(inner.clone(), readers);
    stdx::task::spawn("consensus-reads", async move { stop.guard(reading).await });
    spawn_watchful(&inner);
    spawn_shutdown(&inner, shutdown);
    tracing::info!(member = format!("{:x}", config.id), name = config.name, "consensus runs");
    Ok(Handle { inner })
}

/// Has the member end in order when it is told to.
fn spawn_shutdown(inner: &Arc<Inner>, shutdown: Shutdown) {
    let inner = inner.clone();
    stdx::task::spawn("consensus-shutdown", async move {
        if inner.stop.guard(shutdown.triggered()).await.is_some() {
            inner.end_in_order().await;
        }
    });
}

/// Starts the tasks that look after leader, log and members.
fn spawn_watchful(inner: &Arc<Inner>) {
    stdx::task::spawn("consensus-pacemaker", pacemaker::run(inner.clone()));
    stdx::task::spawn("consensus-pulse", pulse::run(inner.clone()));
    stdx::task::spawn("consensus-compaction", compaction::run(inner.clone()));
    stdx::task::spawn("consensus-promotion", membership::promote_waiting(inner.clone()));
    detector::began(inner);
}

/// The listeners of all addresses but the first.
async fn more_listeners(config: &Config) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for address in &config.listen_also {
        listeners.push(listen(address).await?);
    }
    Ok(listeners)
}

/// Answers members that come to one address.
fn serve<L: Accept>(listener: L, tls: Option<&Arc<rustls::ServerConfig>>, inner: &Arc<Inner>) {
    let serving = service::listen(listener, tls.cloned(), inner.stop.clone(), inner.clone());
    stdx::task::spawn("consensus-listener", serving);
}

/// The log and whose it is; that of a last survivor is made its own.
async fn open_log(
    config: &mut Config,
    tls: Option<&Arc<rustls::ClientConfig>>,
    shutdown: &Shutdown,
) -> Result<(LogStore, Identity), Error> {
    let dir = config.data_dir.join("log");
    let (faults, reserve) = (config.faults.clone(), config.reserve.clone());
    let mut log = LogStore::open(&dir, faults, reserve, config.world.disk.clone())
        .await
        .map_err(|source| Error::io(format!("opening the log {}", dir.display()), source))?;
    if config.state == Initial::Existing && !is_known(&log)? {
        let found = shutdown.guard(joining::find(config, tls)).await.ok_or(Error::Stopped)?;
        if let Some((id, cluster)) = found {
            config.id = id;
            note_identity(&log, id, cluster).await?;
        }
    }
    let identity = load_identity(config, &log).await?;
    config.id = identity.id();
    if config.force_new_cluster {
        seed::stand_alone(config, &mut log).await?;
    }
    Ok((log, identity))
}

impl Inner {
    /// Ends this member so that nobody notices: leadership first, then the log.
    async fn end_in_order(&self) {
        *self.ending.lock() = true;
        self.hand_over().await;
        self.reserve.end();
        self.stop_core().await;
        let machine = self.machine.clone();
        if let Err(error) = blocking(move || machine.flush()).await {
            tracing::warn!(%error, "state not flushed at the end; it will be applied again");
        }
        if let Err(error) = self.log.end().await {
            tracing::warn!(%error, "log not synced at the end");
        }
        self.finish(Ok(()));
    }

    /// Ends this member as a crash would.
    pub(crate) async fn kill(&self) {
        *self.ending.lock() = true;
        self.reserve.end();
        self.stop.trigger();
        self.stop_core().await;
        self.finish(Ok(()));
    }

    async fn stop_core(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the core did not end well");
        }
    }

    /// Notes how this member ended, once, and ends its tasks.
    pub(crate) fn finish(&self, outcome: Result<(), String>) {
        let expected = *self.ending.lock();
        if expected && outcome.is_err() {
            return;
        }
        self.outcome.send_if_modified(|old| {
            let is_first = old.is_none();
            if is_first {
                if let Err(reason) = &outcome {
                    tracing::error!(reason, "consensus failed");
                }
                *old = Some(outcome);
            }
            is_first
        });
        self.stop.trigger();
        self.forwarder.clear();
    }

    /// Connects to exactly the other members.
    pub(crate) fn reconcile_peers(self: &Arc<Self>, members: &Membership) {
        let others = members.nodes().filter(|(id, _)| **id != self.id);
        let links: Vec<_> =
            others.map(|(id, node)| self.links.link(*id, &node.peer_urls)).collect();
        self.forwarder.reconcile(self, &links);
    }

    /// Where the next snapshot from the leader goes.
    pub(crate) fn incoming_snapshot(&self) -> PathBuf {
        let number = self.incoming.fetch_add(1, Ordering::Relaxed);
        self.scratch.join(format!("in-{number}"))
    }

    /// Writes down which cluster has added this member.
    pub(crate) fn keep_cluster(&self, cluster: u64) {
        let (log, note) = (self.log.clone(), identity_note(self.id, cluster));
        stdx::task::spawn("consensus-identity", async move {
            if let Err(error) = log.set_note(IDENTITY, note).await {
                tracing::error!(%error, "cluster id not written");
            }
        });
    }
}

type Tls = (Option<Arc<rustls::ServerConfig>>, Option<Arc<rustls::ClientConfig>>);

fn load_tls(config: &Config) -> Result<Tls, Error> {
    let Some(files) = &config.tls else { return Ok((None, None)) };
    let server = ServerTls {
        cert: files.cert.clone(),
        key: files.key.clone(),
        client_ca: files.ca.clone(),
        client_auth: if files.ca.is_some() { ClientAuth::Required } else { ClientAuth::None },
        alpn: vec!["h2"],
    };
    let (cert, key) = files.client.clone().unwrap_or((files.cert.clone(), files.key.clone()));
    let client = ClientTls {
        ca: Some(files.ca.clone().unwrap_or(files.cert.clone())),
        cert: Some(cert),
        key: Some(key),
        alpn: vec!["h2"],
        allowed: files.allowed.clone(),
    };
    let (crl, allowed) = (files.crl.clone(), files.allowed.clone());
    let limits = Limits { crl, allowed, ..Limits::default() };
    Ok((Some(server.load_limited(&limits)?), Some(client.load()?)))
}

/// Makes the directories; returns an empty one for snapshots on their way.
fn prepare_directory(config: &Config) -> Result<PathBuf, Error> {
    let scratch = config.data_dir.join("snapshots");
    let prepare = || {
        fs::create_dir_all(&config.data_dir)?;
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir(&scratch)
    };
    let failed = |source| Error::io(format!("preparing {}", config.data_dir.display()), source);
    config.reserve.open(prepare).map_err(failed)?;
    Ok(scratch)
}

/// Who this data belongs to; says so in fresh data. A member stays who it is when it is started with other addresses,
/// as after an update of it, unless the settings say that the data is another member's.
pub(crate) async fn load_identity(config: &Config, log: &LogStore) -> Result<Identity, Error> {
    let failed = |source| Error::io("reading the member's identity", source);
    if let Some(note) = log.note(IDENTITY).map_err(failed)? {
        let (id, cluster) = parse_identity(&note)
            .ok_or_else(|| Error::Config("the member's identity is not readable".to_owned()))?;
        let is_anothers = || config.initial.iter().any(|member| member.id == id);
        if id != config.id && is_anothers() {
            return Err(Error::Config(format!(
                "{} holds the data of member {id:x}, not of {:x} ({})",
                config.data_dir.display(),
                config.id,
                config.name
            )));
        }
        return Ok(Identity::new(id, cluster));
    }
    let cluster = match config.state {
        Initial::New => config::cluster_id(&config.initial),
        Initial::Existing => 0,
    };
    note_identity(log, config.id, cluster).await?;
    Ok(Identity::new(config.id, cluster))
}

/// Whether the data says whose it is.
fn is_known(log: &LogStore) -> Result<bool, Error> {
    let note = log.note(IDENTITY);
    Ok(note.map_err(|source| Error::io("reading the member's identity", source))?.is_some())
}

async fn note_identity(log: &LogStore, id: u64, cluster: u64) -> Result<(), Error> {
    let written = log.set_note(IDENTITY, identity_note(id, cluster)).await;
    written.map_err(|source| Error::io("writing the member's identity", source))
}

fn identity_note(id: u64, cluster: u64) -> Vec<u8> {
    [id.to_be_bytes(), cluster.to_be_bytes()].concat()
}

fn parse_identity(note: &[u8]) -> Option<(u64, u64)> {
    let (id, cluster) = note.split_first_chunk::<8>()?;
    let cluster = cluster.try_into().ok()?;
    Some((u64::from_be_bytes(*id), u64::from_be_bytes(cluster)))
}

/// What happens when nothing tells that the leader is gone, and nothing of this crate's own finds
/// out: a follower waits out the lease on the leader, then its own random timeout. Both are
/// generous, because the [`pacemaker`] sees a lost host earlier, and a leader that does not hear
/// from a majority for as long as the lease takes no writes any more.
fn raft_config(config: &Config) -> Result<openraft::Config, Error> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let election = millis(config.election);
    let raft = openraft::Config {
        cluster_name: config.cluster_token.clone(),
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: election,
        election_timeout_max: election * 3 / 2,
        quorum_loss_probe_interval: Some(election * 3),
        enable_pre_vote: Some(true),
        // A leader sends entries before its own disk has them. One that comes back without those
        // must not put others in their places in the same term.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.keep_entries,
        replication_lag_threshold: config.keep_entries,
        max_payload_entries: MESSAGE_ENTRIES,
        install_snapshot_timeout: 600_000,
        ..openraft::Config::default()
    };
    raft.validate().map_err(|error| Error::Config(error.to_string()))
}

/// Gives a fresh member of a new cluster its first log entry, the same on all of them.
async fn form_cluster(config: &Config, raft: &Raft) -> Result<(), Error> {
    let fatal = |text: String| Error::Fatal(text);
    let formed = raft.is_initialized().await.map_err(|error| fatal(error.to_string()))?;
    if formed || config.state == Initial::Existing {
        return Ok(());
    }
    raft.initialize(first_voters(config)).await.map_err(|error| fatal(error.to_string()))
}

/// The members that form a cluster.
pub(crate) fn first_voters(config: &Config) -> BTreeMap<u64, Node> {
    let voters = config.initial.iter().filter(|member| !member.learner);
    voters
        .map(|member| {
            let (name, peer_urls) = (member.name.clone(), member.peer_urls.clone());
            (member.id, Node { name, peer_urls, auto_promote: false })
        })
        .collect()
}
