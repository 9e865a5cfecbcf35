//! Drops the beginning of the log once the state that it led to is durable here, keeping enough
//! for members that lag a little.
//!
//! openraft never decides this itself: it would drop entries that the state machine has applied
//! but not yet made durable.

use std::{sync::Arc, time::Duration};

use openraft::{RaftMetrics, async_runtime::watch::WatchReceiver, metrics::WaitError};

use crate::{
    Error,
    node::Inner,
    types::{self, TypeConfig},
};

/// How long making the state durable and dropping entries may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long to look for a step's outcome before asking for it again.
const PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two looks at how much has been applied: entries come by the thousand a second.
const LOOK: Duration = Duration::from_millis(50);

/// Compacts whenever half as many entries as are kept have been applied since the last time.
pub(crate) async fn run(inner: Arc<Inner>) {
    let step = (inner.keep_entries / 2).max(1);
    let mut applied = inner.applied.clone();
    loop {
        let purged = types::index(inner.raft.metrics().borrow_watched().purged.as_ref());
        let due = purged + inner.keep_entries + step;
        let due = async {
            while applied.borrow_and_update().index() < due {
                if applied.changed().await.is_err() {
                    return false;
                }
                tokio::time::sleep(LOOK).await;
            }
            true
        };
        if inner.stop.guard(due).await != Some(true) {
            return;
        }
        let compacting = async {
            if let Err(error) = inner.compact_log().await {
                tracing::warn!(error = stdx::chain(&error), "log not compacted");
                tokio::time::sleep(LIMIT).await;
            }
        };
        if inner.stop.guard(compacting).await.is_none() {
            return;
        }
    }
}

impl Inner {
    /// Makes the state durable and drops what it covers of the log, less the margin.
    ///
    /// openraft drops a request for a snapshot while it builds one, and puts off dropping entries
    /// that are on their way to a follower: each step is asked for again until it is seen done.
    pub(crate) async fn compact_log(&self) -> Result<(), Error> {
        let steps = async {
            let _turn = self.compacting.lock().await;
            let target = self.applied.borrow().index();
            let Some(wanted) = target.checked_sub(self.keep_entries) else { return Ok(()) };
            loop {
                self.raft.trigger().snapshot().await.map_err(|_| Error::Stopped)?;
                if self.sees(|m| types::index(m.snapshot.as_ref()) >= target).await? {
                    break;
                }
            }
            let purged = |m: &RaftMetrics<TypeConfig>| types::index(m.purged.as_ref()) >= wanted;
            let mut is_done = wanted == 0;
            while !is_done {
                self.raft.trigger().purge_log(wanted).await.map_err(|_| Error::Stopped)?;
                is_done = self.sees(purged).await?;
            }
            tracing::debug!(upto = wanted, "log compacted");
            Ok(())
        };
        tokio::time::timeout(LIMIT, steps).await.unwrap_or(Err(Error::Timeout))
    }

    /// Does `holds` come true soon?
    async fn sees(
        &self,
        holds: impl Fn(&RaftMetrics<TypeConfig>) -> bool + Send,
    ) -> Result<bool, Error> {
        match self.raft.wait(Some(PATIENCE)).metrics(holds, "log compaction").await {
            Ok(_) => Ok(true),
            Err(WaitError::Timeout(..)) => Ok(false),
            Err(WaitError::ShuttingDown) => Err(Error::Stopped),
        }
    }
}
