//! What clients do to a store while something goes wrong beneath it, all of it written down: single
//! keys as registers, two keys changed together, ranges, leases and watches, through all members.
//!
//! [`Workload::finish`] judges it. What is judged, and from what:
//!
//! | of | must hold |
//! |---|---|
//! | registers | there is one order that explains every answer (the search of [`linearizable`]) |
//! | acknowledged changes | they are in the history, at the revision that was told, and once |
//! | revisions | what begins after an answer gets a higher one, or sees at least that one |
//! | ranges | exactly the state at the revision in their header, stale ones too |
//! | two keys in a transaction | both at one revision |
//! | leases | their keys go at one revision, not before their time, and in the end |
//! | watches | every event, once, in order, a revision as a whole, across reconnections |
//! | members | equal hashes, equal histories, none ended by itself |
//!
//! The history is what the first watcher saw. It is trusted because all members' memory, read from
//! the oldest revision that is left, must agree with it in the end.
//!
//! [`linearizable`]: crate::linearizable

mod audit;
mod clients;
mod leases;
mod ranges;
mod watches;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stdx::Shutdown;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::history::{Action, Operation, Outcome};
use crate::registers::Registers;
use crate::store::{MEMBERS, Members};
use crate::{until, until_some};
use leases::Life;
use ranges::{Pair, Snapshot};
use watches::Watching;

/// Clients of registers.
const CLIENTS: usize = 6;
/// Registers that they share.
const KEYS: usize = 4;
/// Clients of leases.
const LEASE_CLIENTS: usize = 2;
/// How long a client waits for an answer.
pub const ANSWER: Duration = Duration::from_millis(600);
/// Pause after a member gave no answer: a refused connection is no reason to ask as fast as the
/// processor can.
const PAUSE: Duration = Duration::from_millis(20);

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    /// Nothing if it was deleted.
    pub(crate) value: Option<String>,
    pub(crate) lease: i64,
    pub(crate) create: i64,
    pub(crate) version: i64,
}

/// All changes, by revision.
pub(crate) type History = BTreeMap<i64, Vec<Change>>;

/// All that clients were told.
#[derive(Debug, Default)]
struct Told {
    operations: Vec<Operation>,
    pairs: Vec<Pair>,
    snapshots: Vec<Snapshot>,
    lives: Vec<Life>,
    refused_for_space: usize,
}

/// Where clients write down what they were told.
#[derive(Clone)]
pub(crate) struct Recorder {
    started: Instant,
    told: Arc<Mutex<Told>>,
    stop: Shutdown,
}

impl Recorder {
    /// Nanoseconds since the beginning.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        self.stop.is_triggered()
    }

    /// Counts what a full disk refuses.
    fn see(&self, status: &tonic::Status) {
        if status.code() == tonic::Code::ResourceExhausted {
            self.told.lock().refused_for_space += 1;
        }
    }
}

/// Connections to all members.
fn channels(members: &Members) -> Vec<Channel> {
    (0..MEMBERS).map(|at| members.channel(at)).collect()
}

/// How exact a run's clocks are.
#[derive(Debug, Clone, Copy)]
pub struct Leniency {
    /// Hundredths of a lease's time after which it may end.
    pub lease_percent: u64,
}

impl Default for Leniency {
    fn default() -> Self {
        Self { lease_percent: 100 }
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Operations on registers.
    pub operations: usize,
    /// Those without an answer.
    pub unknown: usize,
    /// Ranges, pairs and leases.
    pub others: usize,
    /// Revisions.
    pub revisions: usize,
    /// Requests refused because there was no space.
    pub refused_for_space: usize,
    /// Times that watchers went on at another member.
    pub resumed: usize,
    /// What must not be.
    pub wrong: Vec<String>,
}

/// Clients at work.
pub struct Workload {
    recorder: Recorder,
    tasks: Vec<JoinHandle<()>>,
    watchers: Vec<Watching>,
}

impl Workload {
    /// Starts all clients.
    pub fn start(members: &Members, seed: u64) -> Self {
        let recorder =
            Recorder { started: Instant::now(), told: Arc::default(), stop: Shutdown::new() };
        let watchers = (0..MEMBERS)
            .map(|at| Watching::start(at, channels(members), recorder.clone()))
            .collect();
        let mut tasks = Vec::new();
        for client in 0..CLIENTS {
            let work = clients::work(client, channels(members), seed, recorder.clone());
            tasks.push(tokio::spawn(work));
        }
        for client in 0..LEASE_CLIENTS {
            let work = leases::work(client, channels(members), seed, recorder.clone());
            tasks.push(tokio::spawn(work));
        }
        tasks.push(tokio::spawn(ranges::read(channels(members), seed, recorder.clone())));
        tasks.push(tokio::spawn(ranges::write(channels(members), seed, recorder.clone())));
        Self { recorder, tasks, watchers }
    }

    /// The revision up to which the first watcher has seen everything: history below it is known.
    pub fn watched(&self) -> i64 {
        self.watchers[0].position()
    }

    /// How many requests were refused because there was no space.
    pub fn refused_for_space(&self) -> usize {
        self.recorder.told.lock().refused_for_space
    }

    /// Waits until every client of registers has been answered after this moment.
    pub async fn answered_again(&self) {
        let healed = self.recorder.now();
        until("clients are answered again", || {
            let told = self.recorder.told.lock();
            let enough = (0..CLIENTS).all(|client| {
                let mut own = told.operations.iter().filter(|one| one.client == client);
                own.any(|one| one.called > healed && one.outcome != Outcome::Unknown)
            });
            async move { enough }
        })
        .await;
    }

    /// Lets clients finish and judges what they were told; all members run and are whole.
    pub async fn finish(self, members: &mut Members, leniency: Leniency) -> Result<Report> {
        self.answered_again().await;
        self.recorder.stop.trigger();
        for task in self.tasks {
            task.await.context("a client panicked")?;
        }
        leases::all_end(&channels(members)).await;
        let last = last_write(members).await;
        let ended = members.ended();
        ensure!(ended.is_empty(), "members {ended:?} have ended by themselves");
        let hashes = audit::hashes(members, last).await;
        for watcher in &self.watchers {
            until("a watcher has seen the last write", || async { watcher.position() >= last })
                .await;
        }
        let seen = self.watchers.into_iter().map(|watcher| watcher.end(last)).collect::<Vec<_>>();
        let compacted = hashes.iter().map(|hash| hash.compact_revision).max().unwrap_or(-1);
        let mut remembered = Vec::new();
        for channel in channels(members) {
            remembered.push(watches::history(channel, compacted + 1, last).await?);
        }
        let mut wrong = audit::members(&hashes, &remembered);
        let told = std::mem::take(&mut *self.recorder.told.lock());
        let report = Report {
            operations: told.operations.len(),
            unknown: told.operations.iter().filter(|o| o.outcome == Outcome::Unknown).count(),
            others: told.pairs.len() + told.snapshots.len() + told.lives.len(),
            revisions: seen[0].history.len(),
            refused_for_space: told.refused_for_space,
            resumed: seen.iter().map(|seen| seen.resumed).sum(),
            wrong: Vec::new(),
        };
        let judging = move || {
            wrong.extend(audit::watches(&seen, &remembered[0], compacted));
            wrong.extend(audit::clients(told, &seen, leniency));
            wrong
        };
        let wrong = tokio::task::spawn_blocking(judging).await?;
        Ok(Report { wrong, ..report })
    }
}

/// The revision of a write after everything else.
async fn last_write(members: &Members) -> i64 {
    let mut tries = 0;
    until_some("a last write is done", || {
        tries += 1;
        let channel = members.channel(tries % MEMBERS);
        async move {
            let mut registers = Registers::new(channel, ANSWER);
            registers.perform("z", Action::Put(tries as u64)).await.revision()
        }
    })
    .await
}
