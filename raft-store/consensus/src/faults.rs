//! Faults of a member's log disk, for tests of what a cluster does when a disk fails or slows
//! down: nothing else can make a healthy disk do so at a chosen moment.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What is wrong with a log's disk; cloning shares it. Nothing, unless a test says so.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    fails: AtomicBool,
    is_full: AtomicBool,
    delay_us: AtomicU64,
}

impl Faults {
    /// Makes every write from now on fail.
    pub fn fail_writes(&self) {
        self.inner.fails.store(true, Ordering::Release);
    }

    /// Makes every write from now on find no room, or find it again.
    pub fn fill_disk(&self, is_full: bool) {
        self.inner.is_full.store(is_full, Ordering::Release);
    }

    /// Makes every write take so much longer.
    pub fn delay_writes(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.inner.delay_us.store(micros, Ordering::Release);
    }

    /// Before a write: takes the time, or fails, that the test asks for.
    pub(crate) fn meet(&self) -> io::Result<()> {
        let delay = self.inner.delay_us.load(Ordering::Acquire);
        if delay > 0 {
            let end = std::time::Instant::now() + Duration::from_micros(delay);
            while let Some(left) = end.checked_duration_since(std::time::Instant::now())
                && !left.is_zero()
            {
                std::thread::park_timeout(left);
            }
        }
        if self.inner.is_full.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match self.inner.fails.load(Ordering::Acquire) {
            true => Err(io::Error::other("a fault that a test has asked for")),
            false => Ok(()),
        }
    }
}
