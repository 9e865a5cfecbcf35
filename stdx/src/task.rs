//! Named tasks: a panic in one is logged with its name instead of vanishing with its handle.

use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use tokio::task::JoinHandle;

/// Spawns a future under a name. A panic is logged as an error and goes on to whoever joins the handle.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(async move {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => output,
            Err(panic) => {
                tracing::error!(task = name, "task panicked");
                std::panic::resume_unwind(panic)
            }
        }
    })
}
