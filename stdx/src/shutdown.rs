//! One signal that ends a tree of components, because every service must stop the same way.

use tokio_util::sync::CancellationToken;

/// A cloneable signal: triggered once, seen by all clones and children.
///
/// A child ends when its parent does, but can be triggered alone: that is how a lost leader lease ends only the
/// work of that leader.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// The token underneath; cloning shares it.
    token: CancellationToken,
}

impl Shutdown {
    /// A new signal that nothing has triggered.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal that ends with this one and can end alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Tells everybody to stop. Calling it again changes nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether the signal was given.
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for the signal.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Runs a future until it ends or the signal comes: `None` when the signal came first.
    pub async fn guard<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }
}
