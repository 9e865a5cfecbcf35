//! The Raft log, on a RocksDB of its own, written by one thread.
//!
//! An entry can be read from memory as soon as it is queued; the thread drains its queue, writes
//! everything in one batch, syncs once and then reports each write in order. A failed write is
//! final: the log refuses everything after it, because what a disk holds after a failed fsync is
//! not known.
//!
//! The end of a log that was torn before it was synced is cut off when the log is opened. A log
//! that has lost what it told others to be durable, or that is damaged further in, is refused.

mod acknowledged;
mod committed;
mod disk;
#[cfg(test)]
pub(crate) mod fuzz;
mod meter;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use committed::read_committed;
pub use meter::Fsyncs;

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Faults, LogDisk, Reserve,
    types::{LogId, RaftEntry, TypeConfig, Vote},
};
use acknowledged::Acknowledged;
use disk::Disk;
use meter::Meter;
use tail::Tail;
use writer::Job;

/// Jobs that may wait for the writer before `append` waits too.
const QUEUE: usize = 4096;
/// Entries read at once for the state machine.
const APPLY_PAGE: u64 = 1024;
/// Bytes of entries in one message to a follower, but always at least one entry.
const MESSAGE_BYTES: usize = 1 << 20;

/// The log; cloning shares it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

/// What readers and the writer share.
pub(super) struct Shared {
    disk: Disk,
    faults: Faults,
    reserve: Reserve,
    meter: Meter,
    state: Mutex<State>,
}

/// The log as it is or will be once the queue is written.
struct State {
    tail: Tail,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
}

impl LogStore {
    /// Opens the log in this directory, waiting a little for a predecessor that is still dying; or
    /// on a disk that a simulation brings.
    pub(crate) async fn open(
        dir: &Path,
        faults: Faults,
        reserve: Reserve,
        given: Option<Arc<dyn LogDisk>>,
    ) -> io::Result<Self> {
        let disk = match given {
            Some(disk) => Disk::given(disk),
            None => Disk::open_patiently(dir, &reserve).await?,
        };
        let saved = disk.load()?;
        let acknowledged = Acknowledged::open(&dir.with_extension("acknowledged"))?;
        check_end(saved.last, acknowledged.position())?;
        let state = State {
            tail: Tail::default(),
            vote: saved.vote,
            committed: saved.committed,
            purged: saved.purged,
            last: saved.last,
        };
        let (meter, state) = (Meter::default(), Mutex::new(state));
        let shared = Arc::new(Shared { disk, faults, reserve, meter, state });
        let (jobs, queue) = mpsc::channel(QUEUE);
        writer::spawn(shared.clone(), acknowledged, queue)?;
        Ok(Self { shared, jobs })
    }

    /// How long writes took since the start.
    pub(crate) fn fsyncs(&self) -> Fsyncs {
        self.shared.meter.all()
    }

    /// How long one write in a hundred takes at least; none while there were too few.
    pub(crate) fn fsync_p99(&self) -> Option<Duration> {
        self.shared.meter.p99()
    }

    /// A value that this crate keeps beside the log.
    pub(crate) fn note(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.shared.disk.note(name)
    }

    /// Keeps a value beside the log, durably.
    pub(crate) async fn set_note(&self, name: &'static str, value: Vec<u8>) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.send(Job::Note { name, value, done }).await?;
        written.await.map_err(|_| gone())?
    }

    /// Adds an entry and a vote that no core has decided.
    pub(crate) async fn force(&self, entry: RaftEntry, vote: Vote) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            state.vote = Some(vote);
            state.last = Some(entry.log_id);
        }
        self.send(Job::Force { entry, vote, done }).await?;
        written.await.map_err(|_| gone())?
    }

    /// Writes what is queued, the committed position included.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.send(Job::Sync { done }).await?;
        written.await.map_err(|_| gone())?
    }

    /// The same; and then nothing can be written any more, and no thread of its own holds the disk.
    pub(crate) async fn end(&self) -> io::Result<()> {
        let (done, ended) = oneshot::channel();
        self.send(Job::End { done }).await?;
        ended.await.map_err(|_| gone())?
    }

    async fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).await.map_err(|_| gone())
    }

    /// Entries in `[start, end)`, at most `bytes` of them but at least one.
    fn read(&self, start: u64, end: u64, bytes: usize) -> io::Result<Vec<RaftEntry>> {
        let (from_tail, disk_end) = {
            let state = self.shared.state.lock();
            let first = state.purged.map_or(0, |log| log.index + 1);
            if end <= start || end <= first {
                return Ok(Vec::new());
            }
            let tail_start = state.tail.first().unwrap_or(u64::MAX);
            if start >= tail_start {
                return Ok(state.tail.range(start, end, bytes));
            }
            let last = state.last.map_or(0, |log| log.index + 1);
            (state.tail.range(start.max(tail_start), end, bytes), end.min(tail_start).min(last))
        };
        let mut entries = self.shared.disk.range(start, disk_end, bytes)?;
        let reached = entries.last().map_or(start, |entry| entry.log_id.index + 1);
        if reached == disk_end {
            entries.extend(from_tail);
        }
        Ok(entries)
    }
}

/// Where a range of indexes begins and ends, the end exclusive.
fn limits(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(at) => *at,
        Bound::Excluded(at) => at + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(at) => at + 1,
        Bound::Excluded(at) => *at,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

/// Whether a log still has what it told others to be durable.
fn check_end(last: Option<LogId>, acknowledged: Option<LogId>) -> io::Result<()> {
    let Some(acknowledged) = acknowledged else { return Ok(()) };
    if last.is_some_and(|last| last.index >= acknowledged.index) {
        return Ok(());
    }
    let end = last.map_or_else(|| "holds no entry".to_owned(), |log| format!("ends at {log}"));
    Err(crate::wire::invalid(&format!(
        "the log {end}, but entry {acknowledged} was acknowledged: its end is damaged or missing. \
         Restore the disk, or remove this member from the cluster and add it again with an empty \
         directory"
    )))
}

fn gone() -> io::Error {
    io::Error::other("the log's writer has stopped")
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<RaftEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = limits(&range);
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        self.read(start, end, MESSAGE_BYTES)
    }

    /// Reads page by page, so that catching up on a long log does not load all of it.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<RaftEntry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = limits(&range);
        let log = self.clone();
        let pages = futures::stream::unfold(Some(start), move |next| {
            let log = log.clone();
            async move {
                let start = next.filter(|start| *start < end)?;
                let page_end = end.min(start.saturating_add(APPLY_PAGE));
                let page: Vec<io::Result<RaftEntry>> = match log.read(start, page_end, usize::MAX) {
                    Ok(entries) => entries.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                };
                let next = (page.len() as u64 == page_end - start).then_some(page_end);
                Some((futures::stream::iter(page), next))
            }
        });
        Box::pin(pages.flatten().fuse())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.state.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last.or(state.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, written) = oneshot::channel();
        self.shared.state.lock().vote = Some(*vote);
        self.send(Job::Vote { vote: *vote, done }).await?;
        written.await.map_err(|_| gone())?
    }

    /// Remembered now, written with the next batch: losing it only means applying again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.state.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.shared.state.lock();
        // An unsynced log may end before the committed position that was written with it.
        Ok(state.committed.min(state.last.or(state.purged)))
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        if let Some(last) = entries.last() {
            let mut state = self.shared.state.lock();
            state.last = Some(last.log_id);
            state.tail.push(&entries);
        }
        self.send(Job::Append { entries, done }).await
    }

    async fn truncate_after(&mut self, after: Option<LogId>) -> Result<(), io::Error> {
        let next = after.map_or(0, |log| log.index + 1);
        let end = self.shared.state.lock().last.map_or(0, |log| log.index + 1);
        let (done, written) = oneshot::channel();
        self.send(Job::Truncate { start: next, end, done }).await?;
        written.await.map_err(|_| gone())??;
        // Only now: writes queued before must not mark what follows here as durable.
        let mut state = self.shared.state.lock();
        state.tail.truncate(next);
        state.last = after.max(state.purged);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut state = self.shared.state.lock();
            state.purged = state.purged.max(Some(upto));
            state.last = state.last.max(Some(upto));
            state.tail.purge(upto.index);
        }
        self.send(Job::Purge { upto }).await
    }
}
