//! Room for the database, watched on every member: one that sees its quota or its disk nearly used
//! up raises the alarm NOSPACE for all, and from then on it is the alarm that forbids what grows,
//! the same on all members. Reads, deletions and compactions go on.
//!
//! The quota is met where requests come in, as in etcd. A disk is used up by what other members
//! send and by other programs too, so each member looks at its own, whether or not anybody asks it
//! for something, and raises the alarm as long as there is too little room: lowering it helps only
//! once there is room again. Room counts as enough when as much is free as deletions, compactions
//! and the log need, and the [reserve](consensus::Reserve) is whole or could be made whole besides.
//!
//! A disk that fills up faster than anybody looks is met by the log itself, which then lives on
//! the reserve, and waits when that is used up too. A member whose log waits refuses at once, as
//! the log could not even take the alarm; it raises the alarm when the log goes on.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use consensus::Reserve;
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, InternalRaftRequest, alarm_request::AlarmAction,
};

use crate::{Error, node::Inner, propose::Applied, state::State};

/// How often the size is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

/// How large the database is, as of the last look.
#[derive(Debug, Default)]
pub(crate) struct Size {
    /// Bytes of files, and of memory that will become files.
    pub(crate) total: AtomicI64,
    /// Those of them that hold something.
    pub(crate) in_use: AtomicI64,
    /// Whether the disk beneath has too little room left.
    pub(crate) is_short: AtomicBool,
}

/// Least bytes that must stay free on the disk: room for the log to go on, for deletions and
/// compactions, after the alarm. The reserve has as many besides.
const MIN_FREE: u64 = 64 << 20;
/// On a small disk, this part of it.
const MIN_FREE_PART: u64 = 8;

/// Least bytes of a reserve: RocksDB goes on after a full disk once as much is free as it may hold
/// in memory (32 MiB), and what it then writes must fit besides.
const MIN_RESERVE: u64 = 40 << 20;

/// The reserve of a member with this directory, which is made when missing. Without a look at the
/// disk there is none: the member may still start, and says why when it does not.
pub(crate) fn reserve(dir: &Path) -> Reserve {
    let least = fs::create_dir_all(dir).and_then(|()| Ok(Space::of(dir)?.least));
    match least {
        Ok(least) => Reserve::at(dir.join("reserve"), least.max(MIN_RESERVE)),
        Err(error) => {
            tracing::warn!(%error, "the disk's size is not known: no reserve");
            Reserve::default()
        }
    }
}

/// A disk's room.
struct Space {
    /// Bytes that anybody may take.
    free: u64,
    /// Bytes that must stay free.
    least: u64,
}

impl Space {
    /// Of the disk that a directory is on; blocks for a moment.
    fn of(dir: &Path) -> io::Result<Self> {
        let disk = nix::sys::statvfs::statvfs(dir)?;
        let unit = disk.fragment_size();
        let least = MIN_FREE.min(disk.blocks().saturating_mul(unit) / MIN_FREE_PART);
        Ok(Self { free: disk.blocks_available().saturating_mul(unit), least })
    }
}

/// Makes the reserve whole if there is room for that; whether the disk has less than it must.
fn look(dir: &Path, wanted: Option<u64>, reserve: &Reserve) -> io::Result<bool> {
    let Space { free, least } = Space::of(dir)?;
    let missing = reserve.missing();
    let is_short = free < wanted.unwrap_or(least).saturating_add(missing);
    if !is_short && missing > 0 {
        reserve.fill()?;
    }
    Ok(is_short)
}

impl Inner {
    /// Measures, for ever.
    pub(crate) async fn measure(self: Arc<Self>) {
        let mut every = tokio::time::interval(MEASURE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let state = self.state().load();
            if let Err(error) = state.disk.settle() {
                self.consensus.fail(format!("what was held for want of room: {error}"));
            }
            self.weigh(&state);
            drop(state);
            let config = &self.config;
            match look(&config.data_dir, config.min_free_bytes, &config.reserve) {
                Ok(short) => self.size.is_short.store(short, Ordering::Relaxed),
                Err(error) => tracing::debug!(%error, "free space not known"),
            }
        }
    }

    /// Looks how large the database is.
    pub(crate) fn weigh(&self, state: &State) {
        let (total, in_use) = state.disk.sizes();
        self.size.total.store(total, Ordering::Relaxed);
        self.size.in_use.store(in_use, Ordering::Relaxed);
    }

    /// Whether this member's disk has too little room.
    fn is_disk_short(&self) -> bool {
        self.size.is_short.load(Ordering::Relaxed)
            || self.config.reserve.is_waiting()
            || self.state().load().disk.is_holding()
    }

    /// Raises the alarm about this member's disk whenever that is short and no alarm says so, for
    /// ever.
    pub(crate) async fn warn_of_short_disk(self: Arc<Self>) {
        let mut every = tokio::time::interval(MEASURE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let id = self.consensus.id();
        loop {
            every.tick().await;
            let is_up = self.state().load().alarms.read().is_up_for(AlarmType::Nospace, id);
            if is_up || !self.is_disk_short() {
                continue;
            }
            match self.raise_for(AlarmType::Nospace, id).await {
                Ok(()) => tracing::warn!("the disk is short of room: alarm raised"),
                Err(error) => tracing::warn!(%error, "the disk is short of room: no alarm yet"),
            }
        }
    }

    /// Refuses a request of so many bytes that the database has no room for.
    pub(crate) async fn check_space(&self, cost: usize) -> Result<(), Error> {
        if cost == 0 {
            return Ok(());
        }
        if self.is_disk_short() {
            return Err(Error::NoSpace);
        }
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let exceeds =
            |quota: &i64| self.size.total.load(Ordering::Relaxed).saturating_add(cost) >= *quota;
        let Some(quota) = self.config.quota().filter(exceeds) else { return Ok(()) };
        // The last look may be from before what has made room.
        self.weigh(&self.state().load());
        if !exceeds(&quota) {
            return Ok(());
        }
        // As in etcd, each member that refuses something raises an alarm of its own.
        let own = self.consensus.id();
        if !self.state().load().alarms.read().is_up_for(AlarmType::Nospace, own) {
            tracing::warn!(quota, "no space for more");
            self.raise_for(AlarmType::Nospace, own).await?;
        }
        Err(Error::NoSpace)
    }

    /// Refuses a read while a corruption alarm is up.
    pub(crate) fn check_corrupt(&self) -> Result<(), Error> {
        let is_up = self.state().load().alarms.read().is_up(AlarmType::Corrupt);
        if is_up || self.machine.is_fenced() { Err(Error::Corrupt) } else { Ok(()) }
    }

    /// Raises an alarm about a member for all.
    pub(crate) async fn raise_for(&self, alarm: AlarmType, member_id: u64) -> Result<(), Error> {
        let request =
            AlarmRequest { action: AlarmAction::Activate.into(), member_id, alarm: alarm.into() };
        self.alarm(request).await.map(|_| ())
    }

    pub(crate) async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Error> {
        let request = InternalRaftRequest { alarm: Some(request), ..Default::default() };
        match self.propose(request).await? {
            Applied::Alarm(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            _ => Err(Error::Internal("an answer of another kind".to_owned())),
        }
    }
}
