//! One member: a whole store on a runtime and a clock of its own.
//!
//! The runtime is the process. It runs only when the world gives it time, so a member that is
//! paused is one that gets none, and one that is killed is one whose runtime is dropped, with all
//! tasks in the middle of what they do. What it leaves is its log disk and what was flushed of its
//! state: the files are copied before RocksDB gets a chance to close them well.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use stdx::Shutdown;
use tokio::{runtime::Runtime, time::Instant};

use crate::{disk::Disk, net::Net};

/// How often a state is copied until it held still meanwhile.
const COPIES: usize = 100;

/// A member, running or not.
pub(crate) struct Member {
    /// Its number.
    pub(crate) at: usize,
    pub(crate) config: store::Config,
    pub(crate) disk: Disk,
    root: PathBuf,
    /// How fast its clock runs.
    rate: f64,
    lives: u32,
    live: Option<Live>,
}

/// A running process.
struct Live {
    runtime: Runtime,
    /// When it was born, by the world's clock and by its own.
    born: u64,
    began: Instant,
    paused: bool,
    shutdown: Shutdown,
    shared: Arc<Mutex<Shared>>,
}

/// What the process tells.
#[derive(Default)]
struct Shared {
    handle: Option<store::Handle>,
    /// How it ended.
    ended: Option<String>,
}

impl Member {
    pub(crate) fn new(config: store::Config, disk: Disk, at: usize, rate: f64) -> Self {
        let root = config.data_dir.clone();
        Self { at, config, disk, root, rate, lives: 0, live: None }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.live.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.paused)
    }

    /// The store, once it runs.
    pub(crate) fn handle(&self) -> Option<store::Handle> {
        self.live.as_ref()?.shared.lock().handle.clone()
    }

    /// Where work of this process can be started.
    pub(crate) fn runtime(&self) -> Option<tokio::runtime::Handle> {
        self.live.as_ref().map(|live| live.runtime.handle().clone())
    }

    /// How the process has ended by itself, if it has.
    pub(crate) fn ended(&self) -> Option<String> {
        self.live.as_ref()?.shared.lock().ended.clone()
    }

    /// Starts the process.
    pub(crate) fn start(&mut self, net: &Net, now: u64) {
        self.config.data_dir = self.dir();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without sockets");
        let (shared, shutdown) = (Arc::new(Mutex::new(Shared::default())), Shutdown::new());
        let listener = net.listen(self.at);
        let (config, stop, tell) = (self.config.clone(), shutdown.clone(), shared.clone());
        runtime.spawn(async move {
            let started = Box::pin(store::start_on(listener, config, stop)).await;
            let ended = match started {
                Ok(handle) => {
                    tell.lock().handle = Some(handle.clone());
                    handle.closed().await.err().map(|error| stdx::chain(&error))
                }
                Err(error) => Some(format!("not started: {}", stdx::chain(&error))),
            };
            tell.lock().ended = Some(ended.unwrap_or_else(|| "in order".to_owned()));
        });
        let began = runtime.block_on(async { Instant::now() });
        self.live = Some(Live { runtime, born: now, began, paused: false, shutdown, shared });
    }

    /// Gives the process its time up to now.
    pub(crate) fn run(&self, now: u64) {
        let Some(live) = self.live.as_ref().filter(|live| !live.paused) else { return };
        let until = live.began + self.own_time(now - live.born);
        live.runtime.block_on(async { tokio::time::sleep_until(until).await });
    }

    /// Stops the process where it is.
    pub(crate) fn pause(&mut self) {
        if let Some(live) = &mut self.live {
            live.paused = true;
        }
    }

    /// Lets it go on: its clock jumps to where it should be.
    pub(crate) fn resume(&mut self, now: u64) {
        let Some(live) = self.live.as_mut().filter(|live| live.paused) else { return };
        live.paused = false;
        let (began, born) = (live.began, live.born);
        let until = began + self.own_time(now - born);
        let Some(live) = &self.live else { return };
        live.runtime.block_on(async {
            let missed = until.saturating_duration_since(Instant::now());
            tokio::time::advance(missed).await;
        });
    }

    /// Asks the process to end in order.
    pub(crate) fn shut_down(&self) {
        if let Some(live) = &self.live {
            live.shutdown.trigger();
        }
    }

    /// Ends the process at once. What it had flushed of its state goes to its next life.
    pub(crate) fn crash(&mut self) {
        let Some(live) = self.live.take() else { return };
        let old = self.dir();
        self.lives += 1;
        let new = self.dir();
        let copied = copy_still(&old, &new);
        drop(live);
        copied.expect("a state directory that can be copied");
        fs::remove_dir_all(&old).expect("a directory of ours");
    }

    fn dir(&self) -> PathBuf {
        self.root.join(format!("life-{}", self.lives))
    }

    fn own_time(&self, millis: u64) -> Duration {
        Duration::from_millis(millis).mul_f64(self.rate)
    }
}

/// Copies a directory that RocksDB may be writing to: again until nothing changed meanwhile.
fn copy_still(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        // It was never given time to make one.
        return fs::create_dir_all(from);
    }
    let mut last = Ok(());
    for _ in 0..COPIES {
        let before = listing(from);
        last = copy(from, to);
        if last.is_ok() && before.is_ok_and(|before| listing(from).is_ok_and(|now| now == before)) {
            return Ok(());
        }
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
    }
    last.and_then(|()| Err(io::Error::other("a state that never holds still")))
}

/// Names and sizes of what matters.
fn listing(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if is_noise(&path) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => found.extend(listing(&path)?),
            false => found.push((path, entry.metadata()?.len())),
        }
    }
    found.sort();
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| !is_noise(&path)) else { continue };
        let target = to.join(name);
        if path.is_dir() {
            copy(&path, &target)?;
        } else if path.extension().is_some_and(|end| end == "sst") {
            // Never written again.
            fs::hard_link(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// RocksDB's diary and lock, and copies of the state that were on their way.
fn is_noise(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("LOG") || name == "LOCK" || name == "snapshots"
}
