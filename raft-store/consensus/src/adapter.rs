//! Between openraft and our [`StateMachine`]: collects committed entries into batches, keeps the
//! position and the membership in the machine's `meta`, and makes snapshots of it.
//!
//! A snapshot costs nothing until a member needs one: building one only makes the state durable;
//! the copy is made when it is sent, of the state as it is then.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::{FutureExt, Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use prost::Message as _;
use tokio::sync::watch;

use crate::{
    Entry, Payload, StateMachine,
    snapshot::Checkpoint,
    types::{self, Applied, LogId, RaftPayload, SnapshotMeta, StoredMembership, TypeConfig},
    wire,
};

/// Entries handed to the state machine at once.
const BATCH_ENTRIES: usize = 1024;
/// Bytes of entries handed to the state machine at once, roughly.
const BATCH_BYTES: usize = 4 << 20;

pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Checkpoint>;

/// openraft's view of the state machine.
pub(crate) struct Adapter {
    machine: Arc<dyn StateMachine>,
    /// Position and membership, as in the machine's `meta`.
    state: Option<SnapshotMeta>,
    applied: watch::Sender<Applied>,
    /// Where copies of the state are made.
    scratch: PathBuf,
    /// Set once the member runs: before, nobody needs a copy.
    running: Arc<AtomicBool>,
    copies: AtomicU64,
}

impl Adapter {
    pub(crate) fn new(
        machine: Arc<dyn StateMachine>,
        applied: watch::Sender<Applied>,
        scratch: PathBuf,
        running: Arc<AtomicBool>,
    ) -> Self {
        let copies = AtomicU64::new(0);
        Self { machine, state: None, applied, scratch, running, copies }
    }

    fn state(&mut self) -> io::Result<&mut SnapshotMeta> {
        if self.state.is_none() {
            let state = wire::decode_meta(self.machine.meta()?)?;
            self.applied.send_replace(Applied::from(state.last_log_id.as_ref()));
            self.state = Some(state);
        }
        Ok(self.state.as_mut().expect("loaded just above"))
    }

    fn apply_batch(&mut self, entries: Vec<Entry>, last: LogId) -> io::Result<()> {
        let state = self.state()?;
        state.last_log_id = Some(last);
        let meta = wire::applied_state(Some(&last), &state.last_membership).encode_to_vec();
        self.machine.apply(entries, meta.into())?;
        self.applied.send_replace(Applied::from(Some(&last)));
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Adapter {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.state()?;
        Ok((state.last_log_id, state.last_membership.clone()))
    }

    async fn apply<S>(&mut self, stream: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut stream = stream.fuse();
        while let Some(first) = stream.next().await {
            let mut next = Some(first);
            let mut entries = Vec::new();
            let mut responders = Vec::new();
            let mut bytes = 0;
            let mut last = None;
            while let Some(item) = next {
                let (entry, responder) = item?;
                last = Some(entry.log_id);
                responders.extend(responder);
                let payload = match entry.payload {
                    RaftPayload::Blank => Payload::Blank,
                    RaftPayload::Normal(command) => Payload::Normal(command.0),
                    RaftPayload::Membership(membership) => {
                        let members = types::members(&membership);
                        self.state()?.last_membership =
                            StoredMembership::new(Some(entry.log_id), membership);
                        Payload::Membership(members)
                    }
                };
                if let Payload::Normal(payload) = &payload {
                    bytes += payload.len();
                }
                let (index, term) = (entry.log_id.index, entry.log_id.leader_id.term);
                entries.push(Entry { index, term, payload });
                if entries.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                    break;
                }
                next = stream.next().now_or_never().flatten();
            }
            let last = last.expect("a batch has at least its first entry");
            self.apply_batch(entries, last)?;
            for responder in responders {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { machine: self.machine.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Checkpoint,
    ) -> Result<(), io::Error> {
        let Some(dir) = snapshot.dir().map(ToOwned::to_owned) else {
            return Err(io::Error::other("a snapshot without files cannot be installed"));
        };
        let machine = self.machine.clone();
        let started = tokio::time::Instant::now();
        blocking(move || machine.install(&dir)).await?;
        self.state = None;
        let position = self.state()?.last_log_id;
        if position != meta.last_log_id {
            return Err(io::Error::other(format!(
                "the installed state stands at {position:?}, its sender said {:?}",
                meta.last_log_id
            )));
        }
        let index = types::index(position.as_ref());
        tracing::info!(index, took = ?started.elapsed(), "snapshot installed");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if !self.running.load(Ordering::Acquire) {
            return Ok(None);
        }
        let meta = self.state()?.clone();
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let dir = self.scratch.join(format!("out-{number}"));
        let machine = self.machine.clone();
        let copy = dir.clone();
        let checkpoint = Checkpoint::at(dir);
        blocking(move || machine.checkpoint(&copy)).await?;
        Ok(Some(Snapshot { meta, snapshot: checkpoint }))
    }
}

/// Makes the state durable, which is all a snapshot needs until it is sent.
pub(crate) struct Builder {
    machine: Arc<dyn StateMachine>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let machine = self.machine.clone();
        let meta = blocking(move || {
            machine.flush()?;
            machine.flushed_meta()
        })
        .await?;
        Ok(Snapshot { meta: wire::decode_meta(meta)?, snapshot: Checkpoint::none() })
    }
}

/// Runs work that waits for the disk where it stops no other task.
pub(crate) async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    stdx::simulated::blocking(work).await?
}
