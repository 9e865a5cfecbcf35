//! Logs whose files were torn or damaged while nobody had them open.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use openraft::storage::RaftLogStorage;

use super::*;
use crate::types::{Command, RaftPayload};

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trireme-log-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    async fn open(&self) -> io::Result<LogStore> {
        LogStore::open(&self.log(), Faults::default(), Reserve::default(), None).await
    }

    /// The file that the newest entries are in.
    fn wal(&self) -> PathBuf {
        let files = fs::read_dir(self.log()).unwrap().map(|entry| entry.unwrap().path());
        let is_wal = |path: &PathBuf| path.extension().is_some_and(|end| end == "log");
        let mut wals: Vec<_> =
            files.filter(is_wal).filter(|path| fs::metadata(path).unwrap().len() > 0).collect();
        wals.sort();
        wals.pop().unwrap()
    }
}

fn entry(index: u64) -> RaftEntry {
    let payload = RaftPayload::Normal(Command(vec![index as u8; 100].into()));
    RaftEntry { log_id: LogId::new_term_index(1, index), payload }
}

/// A log with entries 0 to 9, each synced.
async fn filled() -> Scratch {
    let scratch = Scratch::new();
    let mut log = scratch.open().await.unwrap();
    for index in 0..10 {
        log.append([entry(index)], IOFlushed::noop()).await.unwrap();
        log.sync().await.unwrap();
    }
    close(log).await;
    scratch
}

/// Waits until the thread that writes has let go of the files.
async fn close(log: LogStore) {
    let shared = Arc::downgrade(&log.shared);
    drop(log);
    while shared.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn last(log: &mut LogStore) -> u64 {
    log.get_log_state().await.unwrap().last_log_id.unwrap().index
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn an_end_that_nobody_heard_of_is_cut_off() {
    let scratch = filled().await;
    let mut log = scratch.open().await.unwrap();
    assert_eq!(last(&mut log).await, 9);
    log.append([entry(10)], IOFlushed::noop()).await.unwrap();
    log.sync().await.unwrap();
    close(log).await;
    // Half a record that was on its way when the power went.
    change(&scratch.wal(), |bytes| {
        let half = bytes[..bytes.len() / 2].to_vec();
        bytes.extend(half.iter().map(|byte| byte ^ 0x5a));
    });
    let mut log = scratch.open().await.unwrap();
    assert_eq!(last(&mut log).await, 10);
    log.append([entry(11)], IOFlushed::noop()).await.unwrap();
    log.sync().await.unwrap();
}

#[tokio::test]
async fn a_log_that_lost_an_acknowledged_entry_is_refused() {
    let scratch = filled().await;
    let wal = scratch.wal();
    let whole = fs::read(&wal).unwrap();
    change(&wal, |bytes| bytes.truncate(whole.len() - 30));
    let error = scratch.open().await.err().expect("refused").to_string();
    assert!(error.contains("was acknowledged") || error.contains("orrupt"), "{error}");
}

#[tokio::test]
async fn a_log_that_is_damaged_in_the_middle_is_refused() {
    let scratch = filled().await;
    let wal = scratch.wal();
    change(&wal, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let error = scratch.open().await.err().expect("refused").to_string();
    assert!(error.contains("was acknowledged") || error.contains("orrupt"), "{error}");
}

#[tokio::test]
async fn a_log_that_was_cut_on_purpose_is_not_refused() {
    let scratch = filled().await;
    let mut log = scratch.open().await.unwrap();
    log.truncate_after(Some(LogId::new_term_index(1, 4))).await.unwrap();
    close(log).await;
    let mut log = scratch.open().await.unwrap();
    assert_eq!(last(&mut log).await, 4);
    log.append([entry(5)], IOFlushed::noop()).await.unwrap();
    log.sync().await.unwrap();
    log.purge(LogId::new_term_index(1, 5)).await.unwrap();
    log.sync().await.unwrap();
    close(log).await;
    assert_eq!(last(&mut scratch.open().await.unwrap()).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_finds_no_room_waits_for_it_and_nothing_is_lost() {
    let scratch = filled().await;
    let (faults, reserve) = (Faults::default(), Reserve::default());
    let mut log =
        LogStore::open(&scratch.log(), faults.clone(), reserve.clone(), None).await.unwrap();
    faults.fill_disk(true);
    log.append([entry(10)], IOFlushed::noop()).await.unwrap();
    while !reserve.is_waiting() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // What is not durable yet can be read all the same.
    assert_eq!(log.try_get_log_entries(10..11).await.unwrap().len(), 1);
    faults.fill_disk(false);
    log.sync().await.unwrap();
    assert!(!reserve.is_waiting());
    close(log).await;
    assert_eq!(last(&mut scratch.open().await.unwrap()).await, 10);
}

/// A small disk in memory, for whoever may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path) -> Option<Self> {
        let options = Some("size=64m");
        let mounted = mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), options);
        mounted.ok().map(|()| Self(dir.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

/// The real thing: what RocksDB does when the system says that there is no space, and after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_disk_that_is_really_full_goes_on_in_the_place_of_the_reserve() {
    let scratch = Scratch::new();
    let Some(_disk) = SmallDisk::mount(&scratch.0) else {
        writeln!(io::stderr(), "SKIPPED: no disk can be mounted here").unwrap();
        return;
    };
    let bytes = 40 << 20;
    let reserve = Reserve::at(scratch.0.join("reserve"), bytes);
    reserve.fill().unwrap();
    let mut log =
        LogStore::open(&scratch.log(), Faults::default(), reserve.clone(), None).await.unwrap();
    let mut next = 0;
    while reserve.missing() == 0 {
        assert!(next < 1000, "64 MiB are full");
        let bytes: Vec<u8> = std::iter::repeat_with(rand::random).take(64 << 10).collect();
        let payload = RaftPayload::Normal(Command(bytes.into()));
        let entry = RaftEntry { log_id: LogId::new_term_index(1, next), payload };
        log.append([entry], IOFlushed::noop()).await.unwrap();
        next += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    log.append([entry(next)], IOFlushed::noop()).await.unwrap();
    log.sync().await.unwrap();
    assert_eq!(reserve.missing(), bytes, "it was used");
    assert!(!reserve.is_waiting());
    close(log).await;
    let mut log = scratch.open().await.unwrap();
    assert_eq!(last(&mut log).await, next);
    assert_eq!(log.try_get_log_entries(0..next + 1).await.unwrap().len() as u64, next + 1);
    close(log).await;
}

#[tokio::test]
async fn an_ended_writer_has_written_everything_and_holds_nothing() {
    let scratch = filled().await;
    let mut log = scratch.open().await.unwrap();
    log.append([entry(10)], IOFlushed::noop()).await.unwrap();
    log.end().await.unwrap();
    assert!(log.save_vote(&Vote::new(9, 9)).await.is_err(), "it takes nothing more");
    let shared = Arc::downgrade(&log.shared);
    drop(log);
    assert!(shared.upgrade().is_none(), "no thread holds the disk");
    assert_eq!(last(&mut scratch.open().await.unwrap()).await, 10);
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_written_any_more() {
    let scratch = filled().await;
    let faults = Faults::default();
    let (log, reserve) = (scratch.log(), Reserve::default());
    let mut log = LogStore::open(&log, faults.clone(), reserve, None).await.unwrap();
    faults.fail_writes();
    log.append([entry(10)], IOFlushed::noop()).await.unwrap();
    let error = log.sync().await.unwrap_err();
    assert!(error.to_string().contains("fault"), "{error}");
    assert!(log.save_vote(&Vote::new(9, 9)).await.is_err());
    close(log).await;
    assert_eq!(last(&mut scratch.open().await.unwrap()).await, 9);
}
