//! Room for a member's own progress on a disk that others have filled, and patience with it.
//!
//! A full disk is no broken disk: what was durable stays so, nothing is in doubt, and room comes
//! back when somebody makes some. So a write that finds no room is no reason to end, other than
//! any other failed write. It goes in steps:
//!
//! 1. Long before, whoever serves clients sees that room gets short and refuses what grows.
//! 2. A file beside the log holds room that nobody else can take. The first write that finds the
//!    disk full removes it and goes on in its place: the alarm that is raised then, deletions and
//!    compactions all need the log.
//! 3. When that is used up too, the writer waits and tries again. The member keeps its place:
//!    a leader leads on, because heartbeats and reads need no write. [`Reserve::is_waiting`] tells
//!    those who serve clients.
//! 4. When there has been room for a while and writes still find none, the database beneath is not
//!    able to go on: the error is final, as any other, and the process ends.
//!
//! The file is made again when there is room for it and as much as must be free besides.
//!
//! A write may be tried again here because RocksDB, after an error of this kind, first makes a new
//! file of everything that it has accepted before; a half-written record is left behind for good.
//! The same is not true of a failed fsync, which is why no other error is ever tried again.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

/// Pause before a write is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long writes may find no room where there is some: RocksDB looks every five seconds.
const LAST_RESORT: Duration = Duration::from_secs(60);
/// Bytes written at once to a file system that cannot set room aside.
const PIECE: usize = 1 << 20;

/// Room that is kept; cloning shares it. By default there is none, and a full disk is waited out.
#[derive(Debug, Clone, Default)]
pub struct Reserve {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The file, and its bytes.
    file: Option<(PathBuf, u64)>,
    /// How long writes may find no room where there is some.
    last_resort: Duration,
    /// Writes that wait for room.
    waiting: AtomicUsize,
    /// Whether the member ends, and nothing may wait any more.
    is_ending: AtomicBool,
}

impl Default for Inner {
    fn default() -> Self {
        let (waiting, is_ending) = (AtomicUsize::default(), AtomicBool::default());
        Self { file: None, last_resort: LAST_RESORT, waiting, is_ending }
    }
}

/// Since when one kind of writes finds no room where there is some.
#[derive(Debug, Default)]
pub struct Stuck {
    since: Option<Instant>,
}

impl Reserve {
    /// A file of so many bytes, which [`fill`](Self::fill) makes.
    pub fn at(path: PathBuf, bytes: u64) -> Self {
        Self::with_last_resort(path, bytes, LAST_RESORT)
    }

    /// The same with another time than a minute for writes that find no room where there is some.
    pub fn with_last_resort(path: PathBuf, bytes: u64, last_resort: Duration) -> Self {
        let inner = Inner { file: Some((path, bytes)), last_resort, ..Inner::default() };
        Self { inner: Arc::new(inner) }
    }

    /// A write has found no room again: whether to give it up, because there has been some for long.
    pub fn is_last_resort(&self, stuck: &mut Stuck) -> bool {
        if !self.has_room() {
            stuck.since = None;
            return false;
        }
        stuck.since.get_or_insert_with(Instant::now).elapsed() > self.inner.last_resort
    }

    /// Whether a write is waiting for room.
    pub fn is_waiting(&self) -> bool {
        self.inner.waiting.load(Ordering::Acquire) > 0
    }

    /// How many bytes of the room are not there now.
    pub fn missing(&self) -> u64 {
        match &self.inner.file {
            Some((path, bytes)) => bytes.saturating_sub(fs::metadata(path).map_or(0, |m| m.len())),
            None => 0,
        }
    }

    /// Sets the room aside, unless it is; blocks.
    pub fn fill(&self) -> io::Result<()> {
        let Some((path, bytes)) = &self.inner.file else { return Ok(()) };
        if self.missing() == 0 {
            return Ok(());
        }
        let made = allocate(path, *bytes);
        if made.is_err() {
            self.release();
        }
        made
    }

    /// Gives the room to whoever goes on without waiting for it.
    pub fn give(&self, error: &io::Error) {
        let used = self.release();
        tracing::error!(%error, used, "the disk is full");
    }

    /// Gives the room away; whether there was any.
    fn release(&self) -> bool {
        let Some((path, _)) = &self.inner.file else { return false };
        fs::remove_file(path).is_ok()
    }

    /// Does what needs room to begin with; when there is none, once more in the place of the file.
    pub fn open<T>(&self, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if is_full(&error) && self.release() => {
                tracing::warn!(%error, "the disk is full: its reserve is used");
                open()
            }
            other => other,
        }
    }

    /// Writes, and while the disk is full does so again; blocks. Ends with the error only as the
    /// last resort, or when the member ends.
    pub fn write<T>(&self, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match write() {
            Err(error) if is_full(&error) => stdx::task::in_place(|| self.wait(error, write)),
            other => other,
        }
    }

    fn wait<T>(&self, error: io::Error, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let used = self.release();
        tracing::error!(%error, used, "the disk is full: writing waits for room");
        self.inner.waiting.fetch_add(1, Ordering::AcqRel);
        let began = Instant::now();
        let mut stuck = Stuck::default();
        let outcome = loop {
            std::thread::park_timeout(AGAIN);
            match write() {
                Err(error)
                    if is_full(&error)
                        && !self.is_last_resort(&mut stuck)
                        && !self.inner.is_ending.load(Ordering::Acquire) => {}
                other => break other,
            }
        };
        self.inner.waiting.fetch_sub(1, Ordering::AcqRel);
        if outcome.is_ok() {
            tracing::info!(took = ?began.elapsed(), "writing goes on");
        }
        outcome
    }

    /// From now on nothing waits.
    pub(crate) fn end(&self) {
        self.inner.is_ending.store(true, Ordering::Release);
    }

    /// Whether the disk has as much room as the file would take.
    fn has_room(&self) -> bool {
        let Some((path, bytes)) = &self.inner.file else { return false };
        let dir = path.parent().unwrap_or(Path::new("."));
        nix::sys::statvfs::statvfs(dir).is_ok_and(|disk| {
            disk.blocks_available().saturating_mul(disk.fragment_size()) >= *bytes
        })
    }
}

/// Whether an error says that the disk has no room.
pub fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

/// RocksDB's error as one of the system's: of all kinds only a full disk is told apart.
pub fn storage_error(error: rocksdb::Error) -> io::Error {
    // The library's own words for this state, whatever the operation was.
    if error.as_ref().contains("No space left on device") {
        return io::Error::new(io::ErrorKind::StorageFull, error);
    }
    io::Error::other(error)
}

/// Makes a file whose bytes are really there.
fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).open(path)?;
    let length = i64::try_from(bytes).map_err(io::Error::other)?;
    match fallocate(&file, FallocateFlags::empty(), 0, length) {
        Ok(()) => return Ok(()),
        Err(Errno::EOPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let piece = vec![0xA5; PIECE];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        file.write_all(&piece[..now])?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    fn reserve(name: &str) -> Reserve {
        let file = format!("trireme-reserve-{}-{name}", std::process::id());
        Reserve::at(std::env::temp_dir().join(file), 8192)
    }

    #[test]
    fn a_write_that_finds_no_room_takes_the_reserve_and_is_tried_again() {
        let reserve = reserve("again");
        assert_eq!(reserve.missing(), 8192);
        reserve.fill().unwrap();
        assert_eq!(reserve.missing(), 0);
        let mut tries = 0;
        let outcome = reserve.write(|| {
            tries += 1;
            if tries < 4 { Err(full()) } else { Ok(reserve.is_waiting()) }
        });
        assert!(outcome.unwrap(), "others are told that it waits");
        assert!(!reserve.is_waiting());
        assert_eq!(reserve.missing(), 8192);
    }

    #[test]
    fn a_write_that_finds_no_room_where_there_is_some_is_given_up_in_time() {
        let file = format!("trireme-reserve-{}-last", std::process::id());
        let short = Duration::from_millis(200);
        let reserve = Reserve::with_last_resort(std::env::temp_dir().join(file), 8192, short);
        let began = Instant::now();
        assert_eq!(reserve.write(|| Err::<(), _>(full())).unwrap_err().kind(), full().kind());
        assert!(began.elapsed() > short);
        // Without room nobody gives up.
        let file = std::env::temp_dir().join("trireme-reserve-none");
        let none = Reserve::with_last_resort(file, u64::MAX, Duration::ZERO);
        assert!(!none.is_last_resort(&mut Stuck { since: Some(began) }));
    }

    #[test]
    fn every_other_error_is_final() {
        let reserve = reserve("final");
        let mut tries = 0;
        let outcome: io::Result<()> = reserve.write(|| {
            tries += 1;
            Err(io::Error::other("EIO"))
        });
        assert!(outcome.is_err());
        assert_eq!(tries, 1);
    }

    #[test]
    fn nothing_waits_when_the_member_ends() {
        let reserve = reserve("end");
        reserve.end();
        assert_eq!(reserve.write(|| Err::<(), _>(full())).unwrap_err().kind(), full().kind());
        assert!(!reserve.is_waiting());
    }

    #[test]
    fn what_opens_may_use_the_reserve_once() {
        let reserve = reserve("open");
        assert!(reserve.open(|| Err::<(), _>(full())).is_err(), "there is none");
        reserve.fill().unwrap();
        let opened = reserve.open(|| if reserve.missing() == 0 { Err(full()) } else { Ok(()) });
        opened.unwrap();
    }
}
