//! The state machine that consensus keeps equal on all members: applies groups of entries to the
//! state, publishes what changed, and answers whoever waits here.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use consensus::{Entry, Payload, StateMachine};
use parking_lot::Mutex;
use prost::Message as _;
use proto::etcdserverpb::InternalRaftRequest;
use tokio::sync::watch;

use crate::{
    Config, Error, WatchSpec, Watcher,
    apply::{self, LeaseChange},
    lease::Lessor,
    propose::{Applied, Pending, Waiter, answer},
    state::{
        Cell, State,
        disk::Disk,
        key_kind::APPLIED,
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
    /// Where states lie.
    root: PathBuf,
    cache_bytes: usize,
    /// Term of the last applied entry.
    pub(crate) term: watch::Sender<u64>,
    /// The compacted revision, for the sweeper.
    compacted: watch::Sender<i64>,
    /// The revision up to which the disk is swept.
    swept: watch::Sender<i64>,
    /// Held while the state is replaced.
    installing: Mutex<()>,
}

impl Machine {
    /// Opens this member's state; blocks.
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        let root = config.data_dir.join("store");
        let state = State::open(&root, config.cache_bytes)?;
        let hub = Arc::new(Hub::new(state.revision(), config.ring_bytes));
        let compacted = watch::Sender::new(state.compacted());
        let swept = watch::Sender::new(state.swept());
        let cell = Arc::new(Cell::new(state));
        Ok(Self {
            lessor: Arc::new(Lessor::new(cell.clone())),
            cell,
            hub,
            pending: Pending::new(),
            root,
            cache_bytes: config.cache_bytes,
            term: watch::Sender::new(0),
            compacted,
            swept,
            installing: Mutex::new(()),
        })
    }

    /// Follows a range of keys.
    pub(crate) fn watch(&self, spec: WatchSpec) -> Watcher {
        Watcher::new(self.hub.clone(), self.cell.clone(), spec)
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
            let revision = *wanted.borrow_and_update();
            let state = self.cell.load();
            if revision > state.swept() {
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
        payload: Bytes,
        done: &mut Done,
    ) -> io::Result<()> {
        let request = InternalRaftRequest::decode(payload).map_err(io::Error::other)?;
        let id = request.header.as_ref().map_or(0, |header| header.id);
        let waiter = self.pending.take(id);
        let result = match apply::apply(writer, request, waiter.is_some(), &mut done.leases) {
            Ok(applied) => Ok(applied),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Disk(error)) => return Err(error),
        };
        if let Some(waiter) = waiter {
            done.answers.push((waiter, result));
        }
        Ok(())
    }
}

/// What is to be done once a group is written.
#[derive(Default)]
struct Done {
    answers: Vec<(Waiter, Result<Applied, Error>)>,
    leases: Vec<LeaseChange>,
}

impl StateMachine for Machine {
    fn meta(&self) -> io::Result<Option<Bytes>> {
        self.cell.load().disk.meta(APPLIED)
    }

    fn apply(&self, entries: Vec<Entry>, meta: Bytes) -> io::Result<()> {
        let state = self.cell.load();
        let mut writer = Writer::new(&state);
        let mut done = Done::default();
        let mut term = 0;
        for entry in entries {
            term = entry.term;
            if let Payload::Normal(payload) = entry.payload {
                self.apply_one(&mut writer, payload, &mut done)?;
            }
        }
        let compacted = writer.compacted();
        let batches = writer.commit(&meta)?;
        self.hub.publish(batches);
        self.lessor.follow(&done.leases);
        for (waiter, result) in done.answers {
            answer(waiter, result);
        }
        self.term.send_if_modified(|old| std::mem::replace(old, term) != term);
        self.compacted.send_if_modified(|old| std::mem::replace(old, compacted) != compacted);
        Ok(())
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
        let disk = Disk::adopt(&self.root, dir, old.disk.dir())?;
        let state = State::load(disk, self.cache_bytes)?;
        let (revision, compacted) = (state.revision(), state.compacted());
        old.disk.abandon();
        self.cell.replace(state);
        self.hub.reset(revision);
        // What waited here may have been decided by an entry that was skipped.
        self.pending.fail_all(&Error::Timeout);
        self.compacted.send_replace(compacted);
        Ok(())
    }
}
