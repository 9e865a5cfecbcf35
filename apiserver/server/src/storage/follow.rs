//! Keeps something in step with a folder of the store: all of it once, then every change, and all of it again
//! when the history in between is gone.

use bytes::Bytes;
use std::time::Duration;
use stdx::Shutdown;

use super::{Batch, Event, Item, Range, Shared, keys};

/// Pause after an error of the store.
const PAUSE: Duration = Duration::from_millis(100);

/// What is kept in step.
pub trait Follower: Send + Sync + 'static {
    /// The folder's whole content, replacing what was known.
    fn replace(&self, items: Vec<Item>);
    /// One change.
    fn change(&self, event: Event);
}

/// Follows a prefix until shutdown.
pub async fn follow(storage: Shared, prefix: Bytes, follower: impl Follower, shutdown: Shutdown) {
    while !shutdown.is_triggered() {
        let round = shutdown.guard(once(&storage, &prefix, &follower)).await;
        if let Some(Err(error)) = round {
            tracing::debug!(%error, "following the store was interrupted");
            if shutdown.guard(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}

/// One list and the watch behind it, until the watch ends.
async fn once(storage: &Shared, prefix: &Bytes, to: &impl Follower) -> Result<(), super::Error> {
    storage.barrier().await?;
    let end = keys::prefix_end(prefix);
    let range = Range { start: prefix.clone(), end: end.clone(), ..Range::default() };
    let page = storage.range(range).await?;
    to.replace(page.items);
    let mut watch = storage.watch(prefix.clone(), end, page.revision + 1).await?;
    loop {
        match watch.next().await {
            Some(Batch::Events { events, .. }) => events.into_iter().for_each(|e| to.change(e)),
            Some(Batch::Compacted) => return Ok(()),
            None => return Err(super::Error::Unavailable("the watch ended".to_owned())),
        }
    }
}
