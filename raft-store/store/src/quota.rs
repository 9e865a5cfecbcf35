//! The database's limit, watched where requests come in: a member that sees it reached raises an
//! alarm for all, and from then on it is the alarm that forbids, the same on all members.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, InternalRaftRequest, alarm_request::AlarmAction,
};

use crate::{Error, node::Inner, propose::Applied};

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
/// compactions, after the alarm.
const MIN_FREE: u64 = 64 << 20;
/// On a small disk, this part of it.
const MIN_FREE_PART: u64 = 8;

/// Whether the disk that a directory is on has less room than it must; blocks for a moment.
fn is_short(dir: &Path, wanted: Option<u64>) -> io::Result<bool> {
    let disk = nix::sys::statvfs::statvfs(dir)?;
    let unit = disk.fragment_size();
    let least = MIN_FREE.min(disk.blocks().saturating_mul(unit) / MIN_FREE_PART);
    Ok(disk.blocks_available().saturating_mul(unit) < wanted.unwrap_or(least))
}

impl Inner {
    /// Measures, for ever.
    pub(crate) async fn measure(self: Arc<Self>) {
        let mut every = tokio::time::interval(MEASURE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let (total, in_use) = self.state().load().disk.sizes();
            self.size.total.store(total, Ordering::Relaxed);
            self.size.in_use.store(in_use, Ordering::Relaxed);
            match is_short(&self.config.data_dir, self.config.min_free_bytes) {
                Ok(short) => self.size.is_short.store(short, Ordering::Relaxed),
                Err(error) => tracing::debug!(%error, "free space not known"),
            }
        }
    }

    /// Refuses a request of so many bytes that the database has no room for.
    pub(crate) async fn check_space(&self, cost: usize) -> Result<(), Error> {
        if cost == 0 {
            return Ok(());
        }
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let total = self.size.total.load(Ordering::Relaxed).saturating_add(cost);
        let quota = self.config.quota().filter(|quota| total >= *quota);
        let is_short = self.size.is_short.load(Ordering::Relaxed);
        if quota.is_none() && !is_short {
            return Ok(());
        }
        // As in etcd, each member that refuses something raises an alarm of its own.
        let own = self.consensus.id();
        if !self.state().load().alarms.read().is_up_by(AlarmType::Nospace, own) {
            tracing::warn!(quota, is_short, "no space for more");
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
