//! The process-wide metrics registry and its text form.

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::registry::Registry;
use std::sync::LazyLock;

/// Everything that this process measures.
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(|| Mutex::new(Registry::default()));

/// The registry, locked: register metrics at start, never on a request path.
pub fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock()
}

/// All metrics in the Prometheus text format (OpenMetrics).
pub fn encode() -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry())
        .expect("writing to a String cannot fail");
    text
}
