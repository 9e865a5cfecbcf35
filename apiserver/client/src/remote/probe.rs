//! Finds masters that answer, but can't do their work: alone on their side of a cut, or stuck.

use super::{Shared, server::Server};
use bytes::Bytes;
use http::Request;
use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// How often a master in use is asked whether it is ready.
const EVERY: Duration = Duration::from_secs(3);
/// Time for its answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Probes the current master until the client is gone.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        // The wait must not keep the client alive for ever: its task ends at the next tick.
        let _ = timeout(EVERY, strong.suspicion.notified()).await;
        strong.probe().await;
        drop(strong);
        tokio::task::yield_now().await;
    }
}

impl Shared {
    /// Leaves the current master when it isn't ready and another one is.
    async fn probe(&self) {
        let current = self.current.load(Ordering::Relaxed);
        let server = &self.servers[current];
        if !server.is_connected() || self.is_ready(server).await {
            return;
        }
        for (index, other) in self.servers.iter().enumerate() {
            if index != current && self.is_ready(other).await {
                tracing::info!(from = %server.url, to = %other.url, "left a master not ready");
                self.current.store(index, Ordering::Relaxed);
                server.condemn();
                return;
            }
        }
    }

    async fn is_ready(&self, server: &Arc<Server>) -> bool {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = http::Uri::from_static("/readyz");
        if let Ok(Some(value)) = self.token.header() {
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        let nobody = Notify::new();
        let answer = timeout(ANSWER, server.send(&request, &nobody)).await;
        matches!(answer, Ok(Ok(response)) if response.status().as_u16() < 500)
    }
}
