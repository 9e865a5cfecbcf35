//! Named tasks: a panic in one is logged with its name instead of vanishing with its handle.

use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use tokio::{runtime::RuntimeFlavor, task::JoinHandle};

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

/// Does work that takes long where it keeps no other task waiting, if this runtime can move them: one with more
/// than one thread. In any other it is just done.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}
