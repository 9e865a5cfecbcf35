//! One run: members, clients and time, moved on together one millisecond after the other.

mod faults;
mod finish;
mod looking;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use consensus::World as Surroundings;
use store::Initial;

use crate::{
    clients::{Clients, Door, Doors},
    disk::Disk,
    evidence::{Evidence, Recorder},
    member::Member,
    net::{Net, port},
    schedule::{MEMBERS, Schedule},
};
use faults::Undo;

/// Milliseconds between looks at the members.
const LOOK: u64 = 2;

/// A run in progress.
pub(crate) struct World {
    seed: u64,
    now: u64,
    schedule: Schedule,
    dir: PathBuf,
    net: Net,
    members: Vec<Member>,
    doors: Doors,
    clients: Clients,
    recorder: Recorder,
    /// What is mended when.
    undo: BTreeMap<(u64, u64), Undo>,
    undos: u64,
    /// What happened, with who it was.
    log: Vec<String>,
    /// Terms and who was seen to lead them.
    offices: BTreeSet<(u64, u64)>,
    /// Up to where each member's commits were noted.
    committed: BTreeMap<usize, u64>,
    /// Members that somebody wanted to remove.
    leaving: BTreeSet<usize>,
    /// Members that have learned that they were.
    removed: BTreeSet<usize>,
}

impl World {
    /// A cluster that begins.
    pub(crate) fn new(seed: u64, schedule: Schedule) -> Self {
        let (net, recorder, doors) = (Net::new(seed), Recorder::default(), Doors::new());
        let dir = scratch(seed);
        let clients = Clients::start(seed, &doors, &recorder);
        recorder.with(|evidence| {
            evidence.fastest = schedule.rates.iter().copied().fold(1.0, f64::max);
        });
        let mut world = Self {
            seed,
            now: 0,
            schedule,
            dir,
            net,
            members: Vec::new(),
            doors,
            clients,
            recorder,
            undo: BTreeMap::new(),
            undos: 0,
            log: Vec::new(),
            offices: BTreeSet::new(),
            committed: BTreeMap::new(),
            leaving: BTreeSet::new(),
            removed: BTreeSet::new(),
        };
        for at in 0..MEMBERS {
            world.prepare(at, Initial::New);
        }
        for at in 0..MEMBERS {
            world.start(at);
        }
        world
    }

    /// Runs to the end; what was seen, and what happened.
    pub(crate) fn run(mut self) -> (Evidence, Vec<String>) {
        let events = self.schedule.events.clone();
        let mut events = events.into_iter().peekable();
        while self.now < self.schedule.end {
            while let Some(event) = events.next_if(|event| event.at <= self.now) {
                self.happen(event.fault);
            }
            self.step();
        }
        self.mend_all();
        self.finish();
        let log = std::mem::take(&mut self.log);
        (self.recorder.take(), log)
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now += 1;
        let now = self.now;
        self.recorder.with(|evidence| evidence.now = now);
        while let Some(entry) = self.undo.first_entry().filter(|entry| entry.key().0 <= now) {
            let undo = entry.remove();
            self.undo(undo);
        }
        self.net.advance(now);
        for member in &self.members {
            member.run(now);
        }
        self.clients.run(now);
        self.bury();
        if now.is_multiple_of(LOOK) {
            self.look();
        }
    }

    /// Notes something for whoever reads about a failed run.
    fn say(&mut self, what: &str) {
        self.log.push(format!("{:>6} ms {what}", self.now));
    }

    /// A member that has not begun.
    fn prepare(&mut self, at: usize, state: Initial) {
        let url = |at: usize| vec![format!("http://m{at}:{}", port(at))];
        let name = |at: usize| format!("m{at}");
        let disk = Disk::new(at, self.seed ^ (at as u64 + 1) << 40, self.recorder.clone());
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port(at)));
        let known = if state == Initial::New { MEMBERS } else { at + 1 };
        let config = store::Config {
            peer_urls: url(at),
            initial: (0..known).map(|at| (name(at), url(at))).collect(),
            state,
            keep_entries: self.schedule.keep_entries,
            strict_reconfig_check: false,
            ring_bytes: 16 << 10,
            cache_bytes: 64 << 10,
            world: Surroundings {
                network: Some(self.net.of(at)),
                disk: Some(std::sync::Arc::new(disk.clone())),
            },
            ..store::Config::new(&name(at), self.dir.join(name(at)), listen)
        };
        self.members.push(Member::new(config, disk, at, self.schedule.rates[at]));
    }

    fn start(&mut self, at: usize) {
        self.members[at].start(&self.net, self.now);
    }

    /// Opens and shuts clients' ways into members' processes; notes those that have ended.
    fn bury(&mut self) {
        for at in 0..self.members.len() {
            let member = &self.members[at];
            if let Some(why) = member.ended() {
                self.say(&format!("m{at} has ended: {why}"));
                self.net.kill(at);
                self.doors.set(at, None);
                let lost = self.members[at].disk.is_failing();
                self.members[at].crash();
                if lost {
                    self.members[at].disk.lose_power();
                }
                if why.contains("permanently removed") {
                    self.removed.insert(at);
                }
            } else if self.doors.get(at).is_none()
                && let (Some(store), Some(runtime)) = (member.handle(), member.runtime())
            {
                self.doors.set(at, Some(Door { runtime, store }));
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.doors.set(at, None);
        }
        self.members.clear();
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::debug!(%error, "the scratch directory stays");
        }
    }
}

/// A directory of this run's own: in memory, where there is such a place, because the states are
/// real RocksDBs.
fn scratch(seed: u64) -> PathBuf {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("trireme-simulation-{}-{number}-{seed}", std::process::id()))
}
