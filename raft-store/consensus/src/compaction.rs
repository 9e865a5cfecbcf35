//! Drops the beginning of the log once the state that it led to is durable here, keeping enough
//! for members that lag a little.
//!
//! openraft never decides this itself: it would drop entries that the state machine has applied
//! but not yet made durable.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;

use crate::{Error, node::Inner, types};

/// How long making the state durable and dropping entries may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Compacts whenever half as many entries as are kept have been applied since the last time.
pub(crate) async fn run(inner: Arc<Inner>) {
    let step = (inner.keep_entries / 2).max(1);
    let mut applied = inner.applied.clone();
    loop {
        let purged = types::index(inner.raft.metrics().borrow_watched().purged.as_ref());
        let due = purged + inner.keep_entries + step;
        let due = async { applied.wait_for(|at| at.index() >= due).await.is_ok() };
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
    pub(crate) async fn compact_log(&self) -> Result<(), Error> {
        let target = self.applied.borrow().index();
        let Some(wanted) = target.checked_sub(self.keep_entries) else { return Ok(()) };
        // The snapshot makes the state durable; what it covers, less the margin, is then dropped.
        let stopped = |_| Error::Stopped;
        self.raft.trigger().snapshot().await.map_err(stopped)?;
        let wait = self.raft.wait(Some(LIMIT));
        let built = wait.metrics(|m| types::index(m.snapshot.as_ref()) >= target, "snapshot");
        built.await.map_err(|_| Error::Timeout)?;
        if wanted == 0 {
            return Ok(());
        }
        self.raft.trigger().purge_log(wanted).await.map_err(stopped)?;
        let wait = self.raft.wait(Some(LIMIT));
        let purged = wait.metrics(|m| types::index(m.purged.as_ref()) >= wanted, "purge");
        purged.await.map_err(|_| Error::Timeout)?;
        tracing::debug!(upto = wanted, "log compacted");
        Ok(())
    }
}
