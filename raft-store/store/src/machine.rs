//! The state machine that consensus keeps equal on all members: applies groups of entries to the
//! state, publishes what changed, and answers whoever waits here.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use consensus::{Entry, Payload, StateMachine};
use parking_lot::Mutex;
use prost::Message as _;
use proto::etcdserverpb::InternalRaftRequest;
use tokio::sync::watch;

use crate::{
    Config, Error, WatchSpec, Watcher,
    apply::{self, Effects, Incoming},
    auth::{TokenChange, Tokens},
    hash,
    lease::Lessor,
    propose::{Applied, Pending, Waiter, answer},
    state::{
        Cell, State,
        disk::Disk,
        key_kind::{APPLIED, FENCED},
        sweep,
        write::{Failure, Writer},
    },
    watch::Hub,
};

/// This member's copy of the state and all that hangs on it.
pub(crate) struct Machine {
    pub(crate) cell: Arc<Cell>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pending: Pending,
    pub(crate) lessor: Arc<Lessor>,
    pub(crate) tokens: Tokens,
    /// Where states lie.
    root: PathBuf,
    cache_bytes: usize,
    /// Term of the last applied entry.
    pub(crate) term: watch::Sender<u64>,
    /// The last compaction, for the sweeper.
    compacted: watch::Sender<Compaction>,
    /// The revision up to which the disk is swept.
    swept: watch::Sender<i64>,
    /// Whether the state is known to be no copy of the others'.
    fenced: AtomicBool,
    /// Held while the state is replaced.
    installing: Mutex<()>,
    /// Applying that takes longer is logged.
    slow_apply: Duration,
}

impl Machine {
    /// Opens this member's state; blocks.
    pub(crate) fn open(config: &Config, tokens: Tokens) -> io::Result<Self> {
        let root = config.data_dir.join("store");
        let state = State::open(&root, config.cache_bytes, &config.reserve)?;
        let hub = Arc::new(Hub::new(state.revision(), config.ring_bytes));
        let compacted = watch::Sender::new(Compaction { to: state.compacted(), from: None });
        let swept = watch::Sender::new(state.swept());
        if state.auth.read().is_enabled() {
            tokens.follow(vec![TokenChange::Enabled]);
        }
        let fenced = AtomicBool::new(state.disk.number(FENCED)?.is_some());
        let cell = Arc::new(Cell::new(state));
        Ok(Self {
            fenced,
            lessor: Arc::new(Lessor::new(cell.clone())),
            cell,
            hub,
            tokens,
            pending: Pending::new(),
            root,
            cache_bytes: config.cache_bytes,
            term: watch::Sender::new(0),
            compacted,
            swept,
            installing: Mutex::new(()),
            slow_apply: config.slow_apply,
        })
    }

    /// Follows a range of keys.
    pub(crate) fn watch(&self, spec: WatchSpec) -> Watcher {
        Watcher::new(self.hub.clone(), self.cell.clone(), spec)
    }

    /// Whether this state is known to be no copy of the others'.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Notes, for good, that this state is no copy of the others'.
    pub(crate) fn fence(&self) -> io::Result<()> {
        self.fenced.store(true, Ordering::Release);
        let state = self.cell.load();
        let mut batch = state.disk.batch();
        batch.put_number(FENCED, 1);
        state.disk.write(batch)?;
        state.disk.flush()
    }

    /// Waits until a compaction has reached the disk here.
    pub(crate) async fn wait_compacted(&self, revision: i64) -> Result<(), Error> {
        let mut swept = self.swept.subscribe();
        match swept.wait_for(|swept| *swept >= revision).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Stopped),
        }
    }

    /// Takes compacted versions off the disk, for ever.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut wanted = self.compacted.subscribe();
        loop {
            let Compaction { to: revision, from } = *wanted.borrow_and_update();
            let state = self.cell.load();
            if revision > state.swept() {
                // Only when all that the last one left is still there.
                if let Some(from) = from.filter(|from| *from == state.swept()) {
                    hash_first(state.clone(), revision, from).await;
                }
                match sweep::sweep(&state, revision).await {
                    Ok(()) => tracing::debug!(revision, "compacted on disk"),
                    Err(error) => tracing::warn!(%error, revision, "not compacted on disk"),
                }
            }
            self.swept.send_replace(state.swept());
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    fn apply_one(
        &self,
        writer: &mut Writer<'_>,
        (index, payload): (u64, Bytes),
        done: &mut Done,
    ) -> io::Result<()> {
        let request = InternalRaftRequest::decode(payload).map_err(io::Error::other)?;
        let id = request.header.as_ref().map_or(0, |header| header.id);
        let waiter = self.pending.take(id);
        let incoming = Incoming { request, index, is_answered: waiter.is_some() };
        let before = writer.finished().len();
        let result = match apply::apply(writer, incoming, &mut done.effects) {
            Ok(applied) => Ok(applied),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Disk(error)) => return Err(error),
        };
        let mut digest = writer.state.digest.lock();
        let events = writer.finished()[before..].iter().flat_map(|batch| &batch.events);
        events.for_each(|event| digest.changed(event));
        digest.took(result.is_ok(), writer.revision());
        drop(digest);
        if let Some(waiter) = waiter {
            done.answers.push((waiter, result));
        }
        Ok(())
    }
}

/// A compaction that has to reach the disk.
#[derive(Debug, Clone, Copy)]
struct Compaction {
    /// Its revision.
    to: i64,
    /// That of the one before; `None` when that is not known.
    from: Option<i64>,
}

/// Hashes what a compaction is about to remove.
async fn hash_first(state: Arc<State>, revision: i64, before: i64) {
    let hashing =
        tokio::task::spawn_blocking(move || hash::hash_compacted(&state, revision, before));
    match hashing.await {
        Ok(Ok(hash)) => tracing::debug!(?hash, "hashed before a compaction"),
        Ok(Err(error)) => tracing::warn!(%error, revision, "not hashed before a compaction"),
        Err(panic) => tracing::warn!(%panic, revision, "not hashed before a compaction"),
    }
}

/// What is to be done once a group is written.
#[derive(Default)]
struct Done {
    answers: Vec<(Waiter, Result<Applied, Error>)>,
    effects: Effects,
}

impl StateMachine for Machine {
    fn meta(&self) -> io::Result<Option<Bytes>> {
        self.cell.load().disk.meta(APPLIED)
    }

    fn apply(&self, entries: Vec<Entry>, meta: Bytes) -> io::Result<()> {
        let (began, count) = (Instant::now(), entries.len());
        let state = self.cell.load();
        let mut writer = Writer::new(&state);
        let mut done = Done::default();
        let mut term = 0;
        for entry in entries {
            term = entry.term;
            match entry.payload {
                Payload::Normal(payload) => {
                    self.apply_one(&mut writer, (entry.index, payload), &mut done)?;
                }
                Payload::Blank => {
                    let (revision, compacted) = (writer.revision(), writer.compacted());
                    state.digest.lock().begin(term, revision, compacted);
                }
                Payload::Membership(_) => {}
            }
            state.digest.lock().end(entry.index);
        }
        state.digest.lock().save(&mut writer.batch);
        let compaction = Compaction { to: writer.compacted(), from: writer.compacted_before() };
        let batches = writer.commit(&meta)?;
        self.hub.publish(batches);
        self.lessor.follow(&done.effects.leases);
        self.tokens.follow(done.effects.tokens);
        for (waiter, result) in done.answers {
            answer(waiter, result);
        }
        self.term.send_if_modified(|old| std::mem::replace(old, term) != term);
        self.compacted.send_if_modified(|old| {
            let is_new = old.to != compaction.to;
            if is_new {
                *old = compaction;
            }
            is_new
        });
        let (took, expected) = (began.elapsed(), self.slow_apply);
        if took > expected {
            tracing::warn!(?took, ?expected, count, "apply request took too long");
        }
        Ok(())
    }

    fn digest(&self) -> Option<(u64, u64)> {
        self.cell.load().digest.lock().newest()
    }

    fn digest_at(&self, index: u64) -> Option<u64> {
        self.cell.load().digest.lock().at(index)
    }

    fn flushed_meta(&self) -> io::Result<Option<Bytes>> {
        self.cell.load().disk.flushed_applied()
    }

    fn flush(&self) -> io::Result<()> {
        self.cell.load().disk.flush()
    }

    fn checkpoint(&self, dir: &Path) -> io::Result<()> {
        self.cell.load().disk.checkpoint(dir)
    }

    fn install(&self, dir: &Path) -> io::Result<()> {
        let _installing = self.installing.lock();
        let old = self.cell.load();
        let disk = Disk::adopt(&self.root, dir, &old.disk)?;
        let state = State::load(disk, self.cache_bytes)?;
        let (revision, compacted) = (state.revision(), state.compacted());
        // Tokens of users that are skipped over may be void: clients get new ones.
        let is_enabled = state.auth.read().is_enabled();
        self.tokens.follow(vec![TokenChange::Disabled]);
        if is_enabled {
            self.tokens.follow(vec![TokenChange::Enabled]);
        }
        old.disk.abandon();
        self.cell.replace(state);
        self.hub.reset(revision);
        // What waited here may have been decided by an entry that was skipped.
        self.pending.fail_all(&Error::Timeout);
        self.compacted.send_replace(Compaction { to: compacted, from: None });
        Ok(())
    }
}
