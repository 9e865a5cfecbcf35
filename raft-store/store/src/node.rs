//! Puts a member together: the state machine, consensus, and the tasks beside them.

use std::sync::Arc;

use consensus::Role;
use proto::etcdserverpb::ResponseHeader;
use stdx::{Shutdown, serve::Listener};
use tokio::sync::watch;

use crate::{
    Config, Error, Handle,
    auth::{Caller, Passwords, Tokens},
    lease,
    machine::Machine,
    metrics::{self, Metrics},
    quota::{self, Size},
    room::Rooms,
    state::Cell,
};

/// What all parts of a member share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) machine: Arc<Machine>,
    pub(crate) consensus: consensus::Handle,
    /// Whether this member leads and has applied what came before its term.
    pub(crate) leading: watch::Receiver<bool>,
    pub(crate) size: Size,
    pub(crate) metrics: Metrics,
    pub(crate) passwords: Passwords,
    pub(crate) rooms: Rooms,
    /// Ends what hangs on this member.
    pub(crate) shutdown: Shutdown,
}

/// Starts a member on its configured peer address. Returns as soon as it runs, which is before
/// it has found a leader.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Handle, Error> {
    match consensus::listen(&config.listen_peer).await? {
        Listener::Tcp(listener) => start_on(listener, config, shutdown).await,
        Listener::Unix(listener) => start_on(listener, config, shutdown).await,
    }
}

/// Starts a member on a peer socket that is already listening.
pub async fn start_on<L: stdx::serve::Accept>(
    listener: L,
    config: Config,
    shutdown: Shutdown,
) -> Result<Handle, Error> {
    let tokens = Tokens::new(&config.auth_token, config.auth_token_ttl)?;
    let mut config = config;
    if config.world.disk.is_none() {
        config.reserve = quota::reserve(&config.data_dir);
    }
    let opening = config.clone();
    let machine = stdx::simulated::blocking(move || Machine::open(&opening, tokens)).await;
    let machine = match machine {
        Ok(Ok(machine)) => Arc::new(machine),
        Ok(Err(error)) => {
            let dir = config.data_dir.display();
            return Err(Error::Start(format!("opening the state in {dir}: {error}")));
        }
        Err(panic) => return Err(Error::Start(format!("opening the state: {panic}"))),
    };
    let lessor = machine.lessor.clone();
    let consensus = consensus::start_on(
        listener,
        config.consensus(),
        machine.clone(),
        lessor.clone(),
        shutdown.clone(),
    )
    .await?;
    lessor.set_consensus(Some(consensus.clone()));
    // What was applied in an earlier life says in which term.
    let applied = consensus.applied_term();
    machine.term.send_if_modified(|term| std::mem::replace(term, applied.max(*term)) < applied);
    let (leading_in, leading) = watch::channel(false);
    let passwords = Passwords::new(config.bcrypt_cost);
    let rooms = Rooms::new(config.range_bytes, config.range_patience);
    let inner = Arc::new(Inner {
        config,
        machine,
        consensus,
        leading,
        size: Size::default(),
        metrics: Metrics::default(),
        passwords,
        rooms,
        shutdown: Shutdown::new(),
    });
    spawn_tasks(&inner, leading_in);
    if inner.config.initial_corrupt_check
        && let Err(error) = inner.check_at_start().await
    {
        inner.consensus.kill().await;
        return Err(error);
    }
    Ok(Handle { inner, caller: Caller::Process })
}

fn spawn_tasks(inner: &Arc<Inner>, leading: watch::Sender<bool>) {
    let spawn = |name, task: futures::future::BoxFuture<'static, ()>| {
        let stop = inner.shutdown.clone();
        stdx::task::spawn(name, async move {
            if stop.guard(task).await.is_some() {
                tracing::debug!(task = name, "task has ended");
            }
        });
    };
    spawn("store-sweep", Box::pin(inner.machine.clone().sweep()));
    spawn("store-size", Box::pin(inner.clone().measure()));
    spawn("store-space", Box::pin(inner.clone().warn_of_short_disk()));
    spawn("store-introduce", Box::pin(inner.clone().introduce()));
    spawn("store-leading", Box::pin(inner.clone().follow_leading(leading)));
    spawn("store-divergence", Box::pin(inner.clone().follow_divergence()));
    if let Some(every) = inner.config.corrupt_check_time {
        spawn("store-corruption", Box::pin(inner.clone().check_periodically(every)));
    }
    if let Some(every) = inner.config.compact_hash_check {
        spawn("store-compact-hash", Box::pin(inner.clone().check_compacted(every)));
    }
    let expiry = lease::run(inner.machine.lessor.clone(), inner.consensus.clone());
    spawn("store-expiry", Box::pin(expiry));
    spawn("store-compaction", Box::pin(inner.clone().compact_automatically()));
    if let Some(every) = inner.config.lease_checkpoints {
        let (lessor, consensus) = (inner.machine.lessor.clone(), inner.consensus.clone());
        let writing = lease::checkpoints::run(lessor, consensus, every);
        spawn("store-checkpoints", Box::pin(writing));
    }
    let closing = inner.clone();
    stdx::task::spawn("store-end", async move {
        if let Err(error) = closing.consensus.closed().await {
            tracing::error!(error = stdx::chain(&error), "the store has failed");
        }
        closing.machine.hub.close();
        closing.machine.lessor.set_consensus(None);
        closing.machine.pending.fail_all(&Error::Stopped);
        closing.shutdown.trigger();
    });
}

impl Inner {
    /// The state.
    pub(crate) fn state(&self) -> &Cell {
        &self.machine.cell
    }

    /// Whether somebody leads: a leader without a majority for an election timeout is none.
    pub(crate) fn has_leader(&self) -> bool {
        self.consensus.has_leader(self.config.election)
    }

    /// Completes an answer's header.
    pub(crate) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let header = header.get_or_insert_with(ResponseHeader::default);
        header.cluster_id = self.consensus.cluster_id();
        header.member_id = self.consensus.id();
        header.raft_term = *self.machine.term.borrow();
        if header.revision == 0 {
            header.revision = self.state().load().revision();
        }
    }

    /// Waits until everything that was committed before is applied here.
    pub(crate) async fn wait_read(&self) -> Result<(), Error> {
        let index = self.consensus.read_index().await;
        let index = index.inspect_err(|_| metrics::count_one(&self.metrics.reads_failed))?;
        let applied = self.consensus.wait_applied(index);
        match tokio::time::timeout(consensus::PROPOSE_TIMEOUT, applied).await {
            Ok(applied) => Ok(applied?),
            Err(_) => Err(Error::TimeoutApplied),
        }
    }

    /// Follows whether this member leads, in the sense of [`Inner::leading`].
    async fn follow_leading(self: Arc<Self>, leading: watch::Sender<bool>) {
        let mut leader = self.consensus.leader();
        let mut applied = self.machine.term.subscribe();
        let mut counted = None;
        loop {
            let known = *leader.borrow_and_update();
            self.metrics.see_leader(known);
            let reached = *applied.borrow_and_update();
            let status = self.consensus.status();
            let leads = status.role == Role::Leader && reached == status.term;
            let term = leads.then_some(status.term);
            if term != counted {
                counted = term;
                self.machine.lessor.lead(term);
                tracing::info!(term = status.term, leads, "leadership of the store");
            }
            leading.send_if_modified(|old| std::mem::replace(old, leads) != leads);
            let changed = tokio::select! {
                biased;
                changed = leader.changed() => changed,
                changed = applied.changed() => changed,
            };
            if changed.is_err() {
                leading.send_replace(false);
                return;
            }
        }
    }
}
