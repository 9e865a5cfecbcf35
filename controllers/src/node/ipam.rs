//! Addresses for Pods: every node gets its own part of the cluster's range.
//!
//! One loop assigns, so that no part is given away twice: what it has just given is remembered
//! until the cache shows it.

use super::name;
use crate::{
    ctx::{Ctx, Key},
    error::{Doing, Error},
    manager::{Controller, Kind},
    watch::Watch,
};
use client::Patch;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use stdx::Shutdown;
use tokio::sync::Notify;

/// How soon a failed assignment is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "node-ipam-controller",
    component: "cidrAllocator",
    account: Some("node-controller"),
    kind: Kind::Loop { watch, run: |ctx, shutdown| Box::pin(run(ctx, shutdown)) },
};

fn watch(watch: &mut Watch<'_>) {
    watch.reads::<Node>();
}

/// The part that a node has.
fn part(node: &Node) -> Option<IpNet> {
    node.spec.as_ref()?.pod_cidr.as_deref()?.parse().ok()
}

/// Parts for the nodes that lack one; `None` where the range is used up.
fn plan(
    nodes: &[Arc<Node>],
    given: &HashMap<String, IpNet>,
    range: IpNet,
    mask: u8,
) -> Vec<(String, Option<IpNet>)> {
    let mut taken: HashSet<IpNet> = nodes.iter().filter_map(|node| part(node)).collect();
    let names: HashSet<&str> = nodes.iter().map(|node| name(node)).collect();
    taken
        .extend(given.iter().filter(|(node, _)| names.contains(node.as_str())).map(|(_, net)| net));
    let mut parts = range.subnets(mask.max(range.prefix_len())).ok();
    let mut next = || parts.as_mut()?.find(|part| !taken.contains(part));
    let mut lacking: Vec<&Arc<Node>> = nodes.iter().filter(|node| part(node).is_none()).collect();
    lacking.sort_by_key(|node| (node.metadata.creation_timestamp.clone(), name(node).to_owned()));
    lacking
        .into_iter()
        .filter(|node| !given.contains_key(name(node)))
        .map(|node| (name(node).to_owned(), next()))
        .collect()
}

async fn run(ctx: Arc<Ctx>, shutdown: Shutdown) -> Result<(), Error> {
    let Some(range) = ctx.config.cluster_cidr else { return Ok(()) };
    let notify = Arc::new(Notify::new());
    super::wake::<Node>(&ctx, &shutdown, &notify);
    let mut given: HashMap<String, IpNet> = HashMap::new();
    loop {
        let nodes = ctx.cache::<Node>().list();
        let known: HashMap<&str, Option<IpNet>> =
            nodes.iter().map(|node| (name(node), part(node))).collect();
        given.retain(|node, _| known.get(node.as_str()).is_some_and(Option::is_none));
        let mut failed = false;
        for (node, part) in plan(&nodes, &given, range, ctx.config.node_cidr_mask) {
            match part {
                Some(part) => match assign(&ctx, &node, part).await {
                    Ok(()) => {
                        given.insert(node, part);
                    }
                    Err(error) => {
                        let error = stdx::chain(&error);
                        tracing::warn!(node, error, "no addresses assigned");
                        failed = true;
                    }
                },
                None => {
                    if let Some(object) = nodes.iter().find(|one| name(one) == node) {
                        let note = format!("Node {node} status is now: CIDRNotAvailable");
                        ctx.normal(&**object, "CIDRNotAvailable", &note);
                    }
                }
            }
        }
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            () = notify.notified() => {}
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
    }
}

async fn assign(ctx: &Ctx, node: &str, part: IpNet) -> Result<(), Error> {
    // A node that has a part keeps it: the API server refuses to change one.
    let body = json!({"spec": {"podCIDR": part.to_string(), "podCIDRs": [part.to_string()]}});
    let key = Key::new("", node);
    let sent = ctx.client.patch::<Node>("", node, Patch::Strategic(body)).await;
    if let Some(written) = sent.gone_is_done("assign pod addresses")? {
        ctx.wrote(&key, &written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn every_node_gets_the_next_free_part_until_none_is_left() {
        let nodes = ["a", "b", "c", "d"].map(|name| {
            let spec = if name == "a" { json!({"podCIDR": "10.0.0.0/24"}) } else { json!({}) };
            Arc::new(node(name, json!({"spec": spec})))
        });
        let range: IpNet = "10.0.0.0/23".parse().expect("a network");
        let second: IpNet = "10.0.1.0/24".parse().expect("a network");
        let got = plan(&nodes, &HashMap::new(), range, 24);
        assert_eq!(got[0], ("b".to_owned(), Some(second)));
        assert_eq!(got[1], ("c".to_owned(), None));
        let given = [("b".to_owned(), second)].into();
        assert_eq!(plan(&nodes[..2], &given, range, 24), []);
    }
}
