//! The annotation that tells node agents how long they may cache Secrets and ConfigMaps: longer in
//! large clusters.

use crate::{
    ctx::{Action, Ctx, Key},
    error::Error,
    manager::{Controller, Kind},
    watch::Watch,
};
use client::Patch;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use std::sync::Arc;

/// The annotation.
const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// Up to so many nodes, so many seconds.
const STEPS: [(usize, u32); 4] = [(100, 0), (500, 15), (1000, 30), (2000, 60)];
/// Seconds beyond the last step.
const LONGEST: u32 = 300;

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "ttl-controller",
    component: "ttl-controller",
    account: Some("ttl-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.own::<Node>();
}

/// The annotation's value.
fn plan(nodes: usize) -> u32 {
    STEPS.iter().find(|(most, _)| nodes <= *most).map_or(LONGEST, |(_, seconds)| *seconds)
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let nodes = ctx.cache::<Node>();
    let Some(node) = nodes.get("", &key.name) else { return Ok(Action::Done) };
    let wanted = plan(nodes.len()).to_string();
    let annotations = node.metadata.annotations.as_ref();
    if annotations.and_then(|all| all.get(ANNOTATION)) != Some(&wanted) {
        let body = json!({"metadata": {"annotations": {ANNOTATION: wanted}}});
        ctx.patch::<Node>(&key, &key, Patch::Merge(body)).await?;
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::plan;

    #[test]
    fn larger_clusters_cache_longer() {
        assert_eq!((plan(1), plan(101), plan(5000)), (0, 15, 300));
    }
}
