//! Nodes: their addresses for Pods, their health, and what happens to Pods on the unhealthy.

pub(crate) mod ipam;
pub(crate) mod lifecycle;
pub(crate) mod taint_eviction;
pub(crate) mod taints;
pub(crate) mod ttl;

use crate::ctx::Ctx;
use client::Kind;
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;
use stdx::Shutdown;
use tokio::sync::Notify;

/// Its name.
pub(crate) fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// The status of its Ready condition; empty when it has none.
pub(crate) fn ready(node: &Node) -> &str {
    let status = node.status.as_ref();
    let mut all = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    all.find(|one| one.type_ == "Ready").map_or("", |one| one.status.as_str())
}

/// Wakes a loop at every change of a kind.
pub(crate) fn wake<K: Kind>(ctx: &Ctx, shutdown: &Shutdown, notify: &Arc<Notify>) {
    let notify = notify.clone();
    ctx.cache::<K>().on_event_until(shutdown, move |_| notify.notify_one());
}
