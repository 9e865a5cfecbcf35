//! Who uses the cluster: clients on a host of their own, each at one member at a time.
//!
//! A client's request runs in the member's process, as that of an API server in the same binary
//! does, and is lost with it. It never repeats a request: whoever does makes two operations of it.

mod leases;
mod pairs;
mod registers;
mod watching;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{SeedableRng as _, rngs::StdRng};
use stdx::Shutdown;
use tokio::{runtime::Runtime, time::Instant};

use crate::{
    evidence::{Header, Recorder},
    schedule::MOST,
};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Clients of registers.
const REGISTER_CLIENTS: usize = 4;
/// Clients of leases.
const LEASE_CLIENTS: usize = 2;

/// The way into a member's process.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) store: store::Handle,
}

/// The ways into all that run; cloning shares them.
#[derive(Clone)]
pub(crate) struct Doors {
    doors: Arc<Mutex<Vec<Option<Door>>>>,
}

impl Doors {
    pub(crate) fn new() -> Self {
        Self { doors: Arc::new(Mutex::new(vec![None; MOST])) }
    }

    pub(crate) fn set(&self, member: usize, door: Option<Door>) {
        self.doors.lock()[member] = door;
    }

    pub(crate) fn get(&self, member: usize) -> Option<Door> {
        self.doors.lock()[member].clone()
    }

    /// The next member after one that can be asked.
    pub(crate) fn next(&self, after: usize) -> Option<usize> {
        let doors = self.doors.lock();
        (1..=MOST).map(|step| (after + step) % MOST).find(|at| doors[*at].is_some())
    }

    /// Does something in a member's process; nothing when there is no answer in time.
    async fn ask<T, F>(&self, member: usize, ask: impl FnOnce(store::Handle) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, store::Error>> + Send + 'static,
    {
        let door = self.get(member)?;
        let asked = door.runtime.spawn(Box::pin(ask(door.store)));
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer.ok(),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// What every client has.
#[derive(Clone)]
pub(crate) struct Client {
    number: usize,
    member: usize,
    doors: Doors,
    recorder: Recorder,
    stop: Shutdown,
}

impl Client {
    /// Turns to another member.
    fn turn(&mut self) {
        self.member = self.doors.next(self.member).unwrap_or(self.member);
    }

    /// Notes the revision of a linearizable answer.
    fn saw(&self, called: u64, returned: u64, revision: i64) {
        let member = self.member;
        let header = Header { member, called, returned, revision };
        self.recorder.with(|evidence| evidence.headers.push(header));
    }
}

/// All clients and their host.
pub(crate) struct Clients {
    runtime: Runtime,
    began: Instant,
    stop: Shutdown,
    watches: Shutdown,
}

impl Clients {
    /// Starts them.
    pub(crate) fn start(seed: u64, doors: &Doors, recorder: &Recorder) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without sockets");
        let (stop, watches) = (Shutdown::new(), Shutdown::new());
        let client = |number: usize, stop: &Shutdown| Client {
            number,
            member: number % MOST,
            doors: doors.clone(),
            recorder: recorder.clone(),
            stop: stop.clone(),
        };
        let chance = |number: usize| StdRng::seed_from_u64(seed ^ (number as u64 + 1) << 32);
        let mut number = 0;
        for _ in 0..REGISTER_CLIENTS {
            runtime.spawn(registers::work(client(number, &stop), chance(number)));
            number += 1;
        }
        for _ in 0..LEASE_CLIENTS {
            runtime.spawn(leases::work(client(number, &stop), chance(number)));
            number += 1;
        }
        runtime.spawn(pairs::work(client(number, &stop), chance(number)));
        for prefix in ["", "", "k"] {
            number += 1;
            runtime.spawn(watching::work(client(number, &watches), prefix));
        }
        let began = runtime.block_on(async { Instant::now() });
        Self { runtime, began, stop, watches }
    }

    /// Gives them their time up to now.
    pub(crate) fn run(&self, now: u64) {
        let until = self.began + Duration::from_millis(now);
        self.runtime.block_on(async { tokio::time::sleep_until(until).await });
    }

    /// Has them begin nothing new; watches go on.
    pub(crate) fn stop(&self) {
        self.stop.trigger();
    }

    /// Ends watches too.
    pub(crate) fn stop_watching(&self) {
        self.watches.trigger();
    }
}
