//! Who does harm to a store's members: a file and a row each. [`run`] lets one of them loose on
//! three real processes under a [workload](crate::workload), with a schedule that a seed decides,
//! heals everything and judges what clients were told.

mod clock;
mod compact;
mod failing_fsync;
mod freeze;
mod full_disk;
mod kill;
mod partition;
mod power;
mod replace;
mod slow_fsync;

use anyhow::{Result, ensure};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::faults::Need;
use crate::store::{MEMBERS, Members, Own};
use crate::until_some;
use crate::workload::{Leniency, Report, Workload};

/// How many times as long as wanted a nemesis may take for all kinds of harm.
const LIMIT: u32 = 20;

/// Longest time for clients to be answered again before the next turn.
const RECOVERY: Duration = Duration::from_secs(5);

/// One nemesis.
pub struct Nemesis {
    /// Its name, as `make faults ONLY=` takes it.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// What it is made of.
    pub needs: &'static [Need],
    /// What members have of their own.
    own: Own,
    /// How exact clocks are.
    leniency: Leniency,
    /// One turn; leaves all members running and whole.
    turn: for<'a> fn(&'a mut Stage<'_>) -> BoxFuture<'a, Result<()>>,
    /// Kinds of harm of which each run must have some.
    must: &'static [&'static str],
}

/// All of them.
pub const NEMESES: &[&Nemesis] = &[
    &kill::NEMESIS,
    &freeze::NEMESIS,
    &partition::NEMESIS,
    &slow_fsync::NEMESIS,
    &failing_fsync::NEMESIS,
    &full_disk::NEMESIS,
    &power::NEMESIS,
    &replace::NEMESIS,
    &compact::NEMESIS,
    &clock::NEMESIS,
];

/// What a nemesis acts on.
pub(crate) struct Stage<'a> {
    pub(crate) members: &'a mut Members,
    pub(crate) workload: &'a Workload,
    pub(crate) random: StdRng,
    /// Turns so far.
    pub(crate) turn: u32,
    done: BTreeMap<&'static str, usize>,
}

impl Stage<'_> {
    /// Counts harm.
    pub(crate) fn did(&mut self, kind: &'static str) {
        *self.done.entry(kind).or_default() += 1;
    }

    /// Lets some time pass, between so many milliseconds.
    pub(crate) async fn pass(&mut self, from: u64, to: u64) {
        sleep(Duration::from_millis(self.random.random_range(from..to))).await;
    }

    /// Who leads, once somebody does.
    pub(crate) async fn leader(&self) -> usize {
        until_some("somebody leads", || self.members.leader()).await
    }

    /// The leader more often than not, else any other member.
    pub(crate) async fn leader_mostly(&mut self) -> usize {
        let leader = self.leader().await;
        if self.random.random_bool(0.7) { leader } else { self.other(leader) }
    }

    /// Any member but one.
    pub(crate) fn other(&mut self, than: usize) -> usize {
        (than + self.random.random_range(1..MEMBERS)) % MEMBERS
    }
}

/// What came of one nemesis and one seed.
#[derive(Debug)]
pub struct Outcome {
    /// Harm by kind.
    pub done: BTreeMap<&'static str, usize>,
    /// What the workload says.
    pub report: Report,
}

/// Lets a nemesis take its turns for so long, and at least until each kind of harm is done.
pub async fn run(nemesis: &Nemesis, seed: u64, time: Duration) -> Result<Outcome> {
    let mut members = Members::with(nemesis.own).await?;
    let workload = Workload::start(&members, seed);
    let done = turns(nemesis, &mut members, &workload, seed, time).await;
    if done.is_err() {
        members.keep();
    }
    let done = done?;
    let report = workload.finish(&mut members, nemesis.leniency).await;
    if report.as_ref().map_or(true, |report| !report.wrong.is_empty()) {
        members.keep();
    }
    Ok(Outcome { done, report: report? })
}

async fn turns(
    nemesis: &Nemesis,
    members: &mut Members,
    workload: &Workload,
    seed: u64,
    time: Duration,
) -> Result<BTreeMap<&'static str, usize>> {
    let random = StdRng::seed_from_u64(!seed);
    let mut stage = Stage { members, workload, random, turn: 0, done: BTreeMap::new() };
    stage.turn = stage.random.random_range(0..2);
    let began = Instant::now();
    let all_kinds = |stage: &Stage| nemesis.must.iter().all(|kind| stage.done.contains_key(kind));
    while began.elapsed() < time || !all_kinds(&stage) {
        ensure!(began.elapsed() < LIMIT * time, "not all of {:?}: {:?}", nemesis.must, stage.done);
        stage.pass(300, 1000).await;
        let turn = tokio::time::timeout(2 * crate::patience(), (nemesis.turn)(&mut stage));
        turn.await??;
        stage.turn += 1;
        // Mostly there is something to lose again; sometimes the next blow falls before that.
        if stage.random.random_bool(0.7) {
            let _ = tokio::time::timeout(RECOVERY, workload.answered_again()).await;
        }
    }
    Ok(stage.done)
}
