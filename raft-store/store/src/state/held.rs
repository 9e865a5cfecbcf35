//! What RocksDB does not take because the disk is full, kept in memory in front of it.
//!
//! Once it has found no room for a file, RocksDB takes nothing in until it has made that file after all, although what
//! comes in would go to memory only. The state must go on: what the log has committed is applied, and read, also
//! without a byte of room. So batches that are refused wait here, readers look here first, and the batches go on in
//! their order as soon as RocksDB takes them. A crash loses them as it loses what was not flushed: the log has them.
//!
//! When there has been room for a minute and the batches still find none, that is an error as any other: the member
//! ends, and a start opens the files anew.
//!
//! There is a bound. What needs room is refused while the disk is short, so little comes: removals, leases, alarms.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use consensus::Stuck;
use rocksdb::{WriteBatch, WriteBatchIteratorCf};

/// Bytes of batches that may wait.
const MOST: usize = 128 << 20;

/// Which of the two families; RocksDB numbers the first 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// Everything else.
    Rest,
    /// Versions.
    Revisions,
}

/// What a key was set to; none when it was removed.
pub(super) type Change = Option<Bytes>;

/// Batches that wait, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Held {
    batches: VecDeque<Vec<u8>>,
    changes: BTreeMap<(Family, Vec<u8>), Change>,
    bytes: usize,
    /// Since when the first finds no room where there is some.
    pub(super) stuck: Stuck,
}

impl Held {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether no more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MOST
    }

    /// Puts a batch behind the others.
    pub(super) fn push(&mut self, batch: &WriteBatch) {
        batch.iterate_cf(&mut Taken(&mut self.changes));
        let data = batch.data().to_vec();
        self.bytes += data.len();
        self.batches.push_back(data);
    }

    /// The batch that waits longest.
    pub(super) fn first(&self) -> Option<&[u8]> {
        self.batches.front().map(Vec::as_slice)
    }

    /// The batch that waited longest is where it belongs.
    pub(super) fn pop(&mut self) {
        self.stuck = Stuck::default();
        if let Some(data) = self.batches.pop_front() {
            self.bytes -= data.len();
        }
        // Before the last has left, a later one may have changed again what an earlier one did.
        if self.batches.is_empty() {
            self.changes.clear();
        }
    }

    /// What waits for a key.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<Change> {
        self.changes.get(&(family, key.to_vec())).cloned()
    }

    /// What waits for keys from one on, in their order.
    pub(super) fn from(&self, family: Family, key: &[u8]) -> VecDeque<(Vec<u8>, Change)> {
        let changes = self.changes.range((family, key.to_vec())..);
        let own = changes.take_while(|((of, _), _)| *of == family);
        own.map(|((_, key), change)| (key.clone(), change.clone())).collect()
    }
}

/// Takes a batch's changes.
struct Taken<'a>(&'a mut BTreeMap<(Family, Vec<u8>), Change>);

impl Taken<'_> {
    fn set(&mut self, family: u32, key: &[u8], change: Change) {
        let family = if family == 0 { Family::Rest } else { Family::Revisions };
        self.0.insert((family, key.to_vec()), change);
    }
}

impl WriteBatchIteratorCf for Taken<'_> {
    fn put_cf(&mut self, family: u32, key: &[u8], value: &[u8]) {
        self.set(family, key, Some(Bytes::copy_from_slice(value)));
    }

    fn delete_cf(&mut self, family: u32, key: &[u8]) {
        self.set(family, key, None);
    }

    /// No batch of the state has any.
    fn merge_cf(&mut self, _family: u32, _key: &[u8], _value: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{self, Write as _},
        path::PathBuf,
        time::{Duration, Instant},
    };

    use consensus::Reserve;
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use proto::mvccpb::KeyValue;

    use super::super::{Rev, disk::Disk, key_kind::KeyKind};
    use prost::Message as _;

    /// A disk of 48 MiB.
    struct Small(PathBuf);

    impl Small {
        fn new(name: &str) -> Option<Self> {
            let dir = format!("trireme-held-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(dir);
            fs::create_dir_all(&dir).unwrap();
            let (kind, size) = (Some("tmpfs"), Some("size=48m"));
            mount(kind, &dir, kind, MsFlags::empty(), size).ok().map(|()| Self(dir))
        }

        fn fill(&self) {
            let mut bytes = 64 << 20;
            while bytes > 0 {
                let name = self.0.join(format!("filler-{bytes}"));
                let Err(_) = fs::write(&name, vec![1; bytes]) else { continue };
                bytes /= 2;
            }
        }

        fn clear(&self) {
            for file in fs::read_dir(&self.0).unwrap().flatten() {
                if file.file_name().to_string_lossy().starts_with("filler-") {
                    fs::remove_file(file.path()).unwrap();
                }
            }
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn skipped() {
        writeln!(io::stderr(), "SKIPPED: no disk can be mounted here").unwrap();
    }

    /// Writes until RocksDB finds no room for a file; the last revision.
    fn write_until_full(small: &Small, disk: &Disk, wanted: impl Fn(i64)) -> i64 {
        (1..=20).for_each(|main| put(disk, main, 100));
        disk.flush().unwrap();
        small.fill();
        let mut last = 20;
        while !disk.is_holding() {
            last += 1;
            assert!(last < 1000, "RocksDB finds no room for a file");
            put(disk, last, 256 << 10);
            wanted(last);
            std::thread::park_timeout(Duration::from_millis(5));
        }
        last
    }

    /// Writes a version, its revision as a number, and removes the version ten before.
    fn put(disk: &Disk, main: i64, size: usize) {
        let key = format!("key-{main}").into();
        let value: Vec<u8> = std::iter::repeat_with(rand::random).take(size).collect();
        let kv = KeyValue { key, value: value.into(), ..KeyValue::default() };
        let mut batch = disk.batch();
        disk.put_version(&mut batch, Rev { main, sub: 0 }, false, &kv.encode_to_vec());
        disk.drop_version(&mut batch, Rev { main: main - 10, sub: 0 }, false);
        batch.put_number("revision", main);
        batch.put(KeyKind::Lease, format!("{main:04}").as_bytes(), b"x");
        batch.delete(KeyKind::Lease, format!("{:04}", main - 10).as_bytes());
        disk.write(batch).unwrap();
    }

    /// The last ten versions are there, in order, and nothing else, however it is asked.
    fn check(disk: &Disk, last: i64) {
        let wanted: Vec<i64> = (last - 9..=last).collect();
        let mut seen = Vec::new();
        let see = |rev: Rev, _, _: &[u8], _: &[u8]| {
            seen.push(rev.main);
            Ok(true)
        };
        disk.visit(0, see).unwrap();
        assert_eq!(seen, wanted);
        assert_eq!(disk.number("revision").unwrap(), Some(last));
        assert!(disk.version(Rev { main: last - 10, sub: 0 }).unwrap().is_none());
        let kv = disk.version(Rev { main: last, sub: 0 }).unwrap().unwrap();
        assert_eq!(kv.key, format!("key-{last}"));
        let leases = disk.all(KeyKind::Lease).unwrap();
        let leases: Vec<String> =
            leases.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect();
        assert_eq!(leases, wanted.iter().map(|main| format!("{main:04}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_state_on_a_full_disk_is_written_and_read_all_the_same() {
        let Some(small) = Small::new("goes-on") else { return skipped() };
        let disk = Disk::open(&small.0.join("state"), &Reserve::default()).unwrap();
        let mut last = write_until_full(&small, &disk, |last| check(&disk, last));
        for _ in 0..15 {
            last += 1;
            put(&disk, last, 100);
            check(&disk, last);
        }
        small.clear();
        let end = Instant::now() + Duration::from_secs(60);
        while disk.is_holding() {
            assert!(Instant::now() < end, "RocksDB goes on");
            std::thread::park_timeout(Duration::from_millis(50));
            disk.settle().unwrap();
            check(&disk, last);
        }
        put(&disk, last + 1, 100);
        disk.flush().unwrap();
        drop(disk);
        let disk = Disk::open(&small.0.join("state"), &Reserve::default()).unwrap();
        check(&disk, last + 1);
    }

    #[test]
    fn what_finds_no_room_where_there_is_some_is_an_error_in_time() {
        let Some(small) = Small::new("ends") else { return skipped() };
        // No byte of room is room enough for a reserve that takes none.
        let short = Duration::from_millis(300);
        let reserve = Reserve::with_last_resort(small.0.join("reserve"), 0, short);
        let disk = Disk::open(&small.0.join("state"), &reserve).unwrap();
        write_until_full(&small, &disk, |_| ());
        let began = Instant::now();
        let error = loop {
            assert!(began.elapsed() < Duration::from_secs(60), "it is given up");
            if let Err(error) = disk.settle() {
                break error;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(disk.is_holding());
    }
}
