//! The one thread that writes the log: drain the queue, one batch, one fsync, then tell everyone
//! in order. In a simulation it is a task: a thread would not wait for virtual time.

use std::{io, sync::Arc};

use openraft::storage::IOFlushed;
use tokio::{
    sync::{
        mpsc::{self},
        oneshot,
    },
    time::Instant,
};

use super::{Shared, acknowledged::Acknowledged, disk::Batch};
use crate::{
    LogDisk,
    types::{LogId, RaftEntry, TypeConfig, Vote},
};

/// Jobs in one batch.
const BATCH_JOBS: usize = 4096;
/// Bytes in one batch, roughly.
const BATCH_BYTES: usize = 16 << 20;

/// One thing to write. Order is kept.
pub(super) enum Job {
    /// Entries that follow the last.
    Append { entries: Vec<RaftEntry>, done: IOFlushed<TypeConfig> },
    /// The vote given or leader followed.
    Vote { vote: Vote, done: Done },
    /// Removes entries in `[start, end)` from the end.
    Truncate { start: u64, end: u64, done: Done },
    /// Removes entries from the beginning. Need not be durable: what comes back is only old.
    Purge { upto: LogId },
    /// A value beside the log.
    Note { name: &'static str, value: Vec<u8>, done: Done },
    /// An entry and a vote from outside the core.
    Force { entry: RaftEntry, vote: Vote, done: Done },
    /// Everything queued before.
    Sync { done: Done },
    /// Everything queued before; then the writer ends, and holds the disk no more.
    End { done: Done },
}

type Done = oneshot::Sender<io::Result<()>>;

/// Who waits for a job, and below which index it makes entries durable.
enum Waiter {
    Append(IOFlushed<TypeConfig>, u64),
    Done(Done),
}

/// Starts the thread, or the task; it ends when it is told to or the last sender is gone.
pub(super) fn spawn(
    shared: Arc<Shared>,
    acknowledged: Acknowledged,
    mut queue: mpsc::Receiver<Job>,
) -> io::Result<()> {
    let mut writer = Writer { shared, acknowledged, failure: None, committed: None };
    if let Some(disk) = writer.shared.disk.as_given().cloned() {
        stdx::task::spawn("consensus-log", async move {
            let mut end = None;
            while end.is_none()
                && let Some(first) = queue.recv().await
            {
                end = writer.write_in_time(disk.as_ref(), first, &mut queue).await;
            }
            drop((writer, queue));
            ended(end);
        });
        return Ok(());
    }
    std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || {
        let mut end = None;
        while end.is_none()
            && let Some(first) = queue.blocking_recv()
        {
            end = writer.write(first, &mut queue);
        }
        // The engine's own globals go when the process ends: nobody may be in it any more then.
        drop((writer, queue));
        ended(end);
    })?;
    Ok(())
}

/// Tells who asked for it that the writer has ended.
fn ended(end: Option<End>) {
    let Some(End { done, outcome }) = end else { return };
    if done.send(outcome).is_err() {
        tracing::trace!("nobody waits for the end of the log any more");
    }
}

/// The writer's end was asked for.
struct End {
    done: Done,
    /// How its last batch went.
    outcome: io::Result<()>,
}

struct Writer {
    shared: Arc<Shared>,
    acknowledged: Acknowledged,
    /// Why nothing can be written any more.
    failure: Option<String>,
    /// The committed position last written.
    committed: Option<LogId>,
}

impl Writer {
    fn write(&mut self, first: Job, queue: &mut mpsc::Receiver<Job>) -> Option<End> {
        let Group { batch, waiters, sync, reach, committed, end } = self.gather(first, queue);
        if self.failure.is_none() {
            let reserve = self.shared.reserve.clone();
            match reserve.write(|| self.store(&batch, sync, &reach)) {
                Ok(()) => self.committed = committed,
                Err(error) => self.fail(&error),
            }
        }
        self.tell(waiters);
        self.end_of(end)
    }

    /// The same on a disk of a simulation, where a sync takes time of its own.
    async fn write_in_time(
        &mut self,
        disk: &dyn LogDisk,
        first: Job,
        queue: &mut mpsc::Receiver<Job>,
    ) -> Option<End> {
        let Group { batch, waiters, sync, reach, committed, end } = self.gather(first, queue);
        if self.failure.is_none() {
            let began = Instant::now();
            let mut outcome = self.begin(&batch, sync, &reach);
            if sync && outcome.is_ok() {
                outcome = disk.sync().await;
            }
            match outcome.and_then(|()| self.end(began, sync, &reach)) {
                Ok(()) => self.committed = committed,
                Err(error) => self.fail(&error),
            }
        }
        self.tell(waiters);
        self.end_of(end)
    }

    /// The end that was asked for with a batch.
    fn end_of(&self, asked: Option<Done>) -> Option<End> {
        asked.map(|done| End { done, outcome: self.outcome() })
    }

    /// Whether everything could be written so far.
    fn outcome(&self) -> io::Result<()> {
        match &self.failure {
            None => Ok(()),
            Some(text) => Err(io::Error::other(text.clone())),
        }
    }

    /// Drains the queue.
    fn gather(&self, first: Job, queue: &mut mpsc::Receiver<Job>) -> Group {
        let mut batch = Batch::default();
        let mut waiters = Vec::new();
        let mut sync = false;
        let mut reach = Reach::default();
        let mut end = None;
        let mut next = Some(first);
        while let Some(job) = next {
            sync |= !matches!(job, Job::Purge { .. });
            let job = match job {
                Job::End { done } => {
                    end = Some(done);
                    break;
                }
                job => job,
            };
            reach.follow(&job);
            waiters.extend(add(&mut batch, job));
            if waiters.len() >= BATCH_JOBS || batch.bytes() >= BATCH_BYTES {
                break;
            }
            next = queue.try_recv().ok();
        }
        let committed = self.shared.state.lock().committed;
        if committed != self.committed {
            batch.committed(committed);
        }
        Group { batch, waiters, sync, reach, committed, end }
    }

    fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, "log cannot be written");
        self.failure = Some(error.to_string());
    }

    /// Writes a batch, and how far it reaches.
    fn store(&mut self, batch: &Batch, sync: bool, reach: &Reach) -> io::Result<()> {
        let began = Instant::now();
        self.shared.faults.meet()?;
        self.begin(batch, sync, reach)?;
        self.end(began, sync, reach)
    }

    /// Before and until a batch is written.
    fn begin(&mut self, batch: &Batch, sync: bool, reach: &Reach) -> io::Result<()> {
        if let Some(cut) = reach.cut {
            self.acknowledged.lower(cut)?;
        }
        self.shared.disk.write(batch, sync)
    }

    /// After a batch is durable.
    fn end(&mut self, began: Instant, sync: bool, reach: &Reach) -> io::Result<()> {
        if sync {
            self.shared.meter.note(began.elapsed());
        }
        match reach.end {
            Some(end) => self.acknowledged.raise(end),
            None => Ok(()),
        }
    }

    fn tell(&self, waiters: Vec<Waiter>) {
        if self.failure.is_none() {
            let durable = waiters.iter().filter_map(|waiter| match waiter {
                Waiter::Append(_, next) => Some(*next),
                Waiter::Done(_) => None,
            });
            if let Some(next) = durable.max() {
                self.shared.state.lock().tail.set_durable(next);
            }
        }
        for waiter in waiters {
            let result = self.outcome();
            match waiter {
                Waiter::Append(done, _) => done.io_completed(result),
                Waiter::Done(done) => {
                    if done.send(result).is_err() {
                        tracing::trace!("nobody waits for this write any more");
                    }
                }
            }
        }
    }
}

/// Jobs that are written together.
struct Group {
    batch: Batch,
    waiters: Vec<Waiter>,
    /// Whether any of them must be durable.
    sync: bool,
    reach: Reach,
    /// The committed position that is written with them.
    committed: Option<LogId>,
    /// Who waits for the writer's end.
    end: Option<Done>,
}

/// What a batch does to the end of the log.
#[derive(Default)]
struct Reach {
    /// The lowest position that it is cut to.
    cut: Option<LogId>,
    /// Its last entry, if it has any.
    end: Option<LogId>,
}

impl Reach {
    fn follow(&mut self, job: &Job) {
        match job {
            Job::Append { entries, .. } => {
                self.end = entries.last().map(|entry| entry.log_id).or(self.end);
            }
            Job::Force { entry, .. } => self.end = Some(entry.log_id),
            Job::Truncate { start, .. } => {
                let before = LogId::new_term_index(0, start.saturating_sub(1));
                self.cut = Some(self.cut.map_or(before, |cut| cut.min(before)));
                self.end = None;
            }
            Job::Vote { .. }
            | Job::Purge { .. }
            | Job::Note { .. }
            | Job::Sync { .. }
            | Job::End { .. } => {}
        }
    }
}

fn add(batch: &mut Batch, job: Job) -> Option<Waiter> {
    match job {
        Job::Append { entries, done } => {
            let next = entries.last().map_or(0, |entry| entry.log_id.index + 1);
            for entry in entries {
                batch.entry(entry);
            }
            Some(Waiter::Append(done, next))
        }
        Job::Vote { vote, done } => {
            batch.vote(&vote);
            Some(Waiter::Done(done))
        }
        Job::Truncate { start, end, done } => {
            batch.truncate(start, end);
            Some(Waiter::Done(done))
        }
        Job::Purge { upto } => {
            batch.purge(&upto);
            None
        }
        Job::Note { name, value, done } => {
            batch.note(name, &value);
            Some(Waiter::Done(done))
        }
        Job::Force { entry, vote, done } => {
            batch.entry(entry);
            batch.vote(&vote);
            Some(Waiter::Done(done))
        }
        Job::Sync { done } | Job::End { done } => Some(Waiter::Done(done)),
    }
}
