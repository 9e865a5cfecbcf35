//! Waiting for something to become true: for tests, and for start-up code without an event to
//! wait for.

use std::time::Duration;
use tokio::time::Instant;

/// The time between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Looks until `look` finds something; `None` when `limit` passes first.
pub async fn until<T, F>(limit: Duration, mut look: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Looks until `is` holds; `false` when `limit` passes first.
pub async fn holds(limit: Duration, mut is: impl FnMut() -> bool) -> bool {
    until(limit, || std::future::ready(is().then_some(()))).await.is_some()
}
