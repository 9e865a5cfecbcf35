//! The database's limit, watched where requests come in: a member that sees it reached raises an
//! alarm for all, and from then on it is the alarm that forbids, the same on all members.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
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
        }
    }

    /// Refuses a request of so many bytes that the database has no room for.
    pub(crate) async fn check_space(&self, cost: usize) -> Result<(), Error> {
        let Some(quota) = self.config.quota().filter(|_| cost > 0) else { return Ok(()) };
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        if self.size.total.load(Ordering::Relaxed).saturating_add(cost) < quota {
            return Ok(());
        }
        if !self.state().load().alarms.read().is_up(AlarmType::Nospace) {
            tracing::warn!(quota, "the database has reached its quota");
            self.raise(AlarmType::Nospace).await?;
        }
        Err(Error::NoSpace)
    }

    /// Refuses a read while a corruption alarm is up.
    pub(crate) fn check_corrupt(&self) -> Result<(), Error> {
        let is_up = self.state().load().alarms.read().is_up(AlarmType::Corrupt);
        if is_up { Err(Error::Corrupt) } else { Ok(()) }
    }

    async fn raise(&self, alarm: AlarmType) -> Result<(), Error> {
        let request = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: self.consensus.id(),
            alarm: alarm.into(),
        };
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
