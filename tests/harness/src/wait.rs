//! Waiting for something to hold, without sleeps in tests.

use std::time::Duration;
use tokio::time::Instant;

/// Time between looks.
const LOOK: Duration = Duration::from_millis(10);

/// How long tests wait for anything: generous, because machines are slow; a test that waits that long has failed.
pub fn patience() -> Duration {
    Duration::from_secs(60)
}

/// Waits until something holds; panics with its name when it does not in time. Gives the time it took.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) -> Duration {
    let mut holds = holds;
    let started = Instant::now();
    until_some(what, || {
        let holds = holds();
        async move { holds.await.then_some(()) }
    })
    .await;
    started.elapsed()
}

/// Waits until there is something, and gives it.
pub async fn until_some<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl FnMut() -> F,
) -> T {
    let mut look = look;
    let end = Instant::now() + patience();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited too long until {what}");
        tokio::time::sleep(LOOK).await;
    }
}
