//! The node's heartbeat: a Lease in `kube-node-lease` that is renewed as long as the agent lives.

use crate::config::Config;
use client::{Client, Patch};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Where heartbeats live.
const NAMESPACE: &str = "kube-node-lease";

/// Renews the Lease until the future is dropped.
pub(crate) async fn run(config: &Config, client: &Client) {
    let mut ticks = tokio::time::interval(config.profile.heartbeat());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        // A master that hangs must not eat the whole life of the Lease.
        let limit = config.profile.heartbeat().max(Duration::from_secs(2));
        let renewed = tokio::time::timeout(limit, renew(config, client)).await;
        match renewed {
            Ok(Ok(())) => last = Instant::now(),
            Ok(Err(error)) => {
                let (error, silent) = (stdx::chain(&error), last.elapsed().as_secs());
                tracing::debug!(node = config.name, error, silent, "heartbeat not written");
            }
            Err(_) => tracing::debug!(node = config.name, "heartbeat takes too long"),
        }
    }
}

/// Renews the Lease, or makes it.
async fn renew(config: &Config, client: &Client) -> Result<(), client::Error> {
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": config.name}});
    match client.patch::<Lease>(NAMESPACE, &config.name, Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => make(config, client, now).await,
        Err(error) => Err(error),
    }
}

/// Makes the Lease. It goes with the Node.
async fn make(config: &Config, client: &Client, now: MicroTime) -> Result<(), client::Error> {
    let node = client.find::<Node>("", &config.name).await?;
    let owner = node.and_then(|node| node.metadata.uid).map(|uid| OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: config.name.clone(),
        uid,
        ..OwnerReference::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(config.name.clone()),
            namespace: Some(NAMESPACE.into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(config.name.clone()),
            lease_duration_seconds: Some(config.profile.lease_seconds()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    client.create(&lease).await.map(|_| ())
}
