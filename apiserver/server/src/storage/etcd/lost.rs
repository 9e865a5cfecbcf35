//! Writes whose answer was lost: whether they happened is read from the history of a key that they change.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::watch::Cursor;
use crate::storage::{Batch, Compare, Error, Event, Txn, Watch};

/// How often the store is asked how far the history was told.
const PROGRESS: Duration = Duration::from_millis(50);
/// Time for reading the history.
const PATIENCE: Duration = Duration::from_secs(10);

/// A key that a transaction changes only at the revision that it read: no two such changes can both happen.
pub(super) struct Guard {
    key: Bytes,
    /// The revision it must have; 0 is "not there".
    revision: i64,
    /// What it will hold; `None` is a deletion.
    value: Option<Bytes>,
}

impl Guard {
    /// The guard of a transaction, if it has one.
    pub(super) fn of(txn: &Txn) -> Option<Self> {
        txn.compares.iter().find_map(|compare| {
            let Compare::Revision(key, revision) = compare else { return None };
            let put = txn.puts.iter().find(|(written, _, _)| written == key);
            let value = put.map(|(_, value, _)| value.clone());
            let changes = value.is_some() || (*revision > 0 && txn.deletes.contains(key));
            changes.then(|| Self { key: key.clone(), revision: *revision, value })
        })
    }

    /// Whether the transaction can't happen twice, however often it is sent. A key may be created a second time,
    /// after it was deleted; it has no revision a second time.
    pub(super) fn is_once(&self) -> bool {
        self.revision > 0
    }

    /// Whether this event is the transaction's.
    fn is(&self, event: &Event) -> bool {
        let before = event.previous.as_ref().map_or(0, |(_, revision)| *revision);
        before == self.revision && event.value == self.value
    }

    /// Looks for the transaction in the history after `base`; the revision that it made.
    pub(super) async fn find(&self, inner: &Arc<Inner>, base: i64) -> Result<Option<i64>, Error> {
        let unknown = |text: &str| Error::Timeout(text.to_owned());
        let search = tokio::time::timeout(PATIENCE, self.search(inner, base)).await;
        match search {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(unknown(&error.to_string())),
            Err(_) => Err(unknown("etcdserver: request timed out")),
        }
    }

    async fn search(&self, inner: &Arc<Inner>, base: i64) -> Result<Option<i64>, Error> {
        let now = inner.barrier().await?;
        let from = self.revision.max(base) + 1;
        if now < from {
            return Ok(None);
        }
        let mut end = self.key.to_vec();
        end.push(0);
        let bounds = (self.key.clone(), end.into());
        let mut history = Cursor::open(inner.clone(), bounds, from, PROGRESS).await?;
        loop {
            let Some(Batch::Events { revision, events }) = history.next().await else {
                return Err(Error::Compacted);
            };
            if let Some(event) = events.iter().find(|event| self.is(event)) {
                return Ok(Some(event.revision));
            }
            if revision >= now {
                return Ok(None);
            }
        }
    }
}
