//! Tells the API server what the node is like: at once when it changes, and now and then when it
//! does not.

use super::conditions::{self, Pressure};
use super::{object, register};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::pod::amount;
use client::{Informer, Patch};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first pause after a failed report.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// What reports are made of.
pub(crate) struct Reporter {
    /// The node.
    pub(crate) ctx: Arc<Ctx>,
    /// What it has.
    pub(crate) capacity: amount::List,
    /// Its system.
    pub(crate) info: NodeSystemInfo,
    /// The range of its Pods.
    pub(crate) range: Ipv4Net,
    /// Its conditions as they were told last.
    pub(crate) before: Vec<NodeCondition>,
}

impl Reporter {
    /// Reports until the future is dropped. `nodes` shows this node as the API server knows it:
    /// whoever gave it up meanwhile is told at once that it lives.
    pub(crate) async fn run(mut self, nodes: &Informer<Node>) {
        let profile = self.ctx.config.profile;
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        nodes.on_event(move |_| notify.notify_one());
        let mut told: Option<(NodeStatus, Instant)> = None;
        let mut pause = PAUSE;
        loop {
            let known = nodes.get("", &self.ctx.config.name);
            if known.is_none() && told.is_some() {
                let ctx = &self.ctx;
                let (config, runtime) = (&ctx.config, &*ctx.runtime);
                match register::again(config, &ctx.client, runtime, self.range).await {
                    Ok(()) => told = None,
                    Err(error) => {
                        tracing::warn!(node = config.name, error = error.text(), "not registered");
                    }
                }
            }
            let known = known.as_ref().and_then(|node| node.status.as_ref()?.conditions.as_ref());
            let doubted = known.is_some_and(|known| told.is_some() && !agree(known, &self.before));
            if let Some(known) = known.filter(|_| doubted) {
                self.before.clone_from(known);
            }
            let status = self.status().await;
            let due = doubted
                || told.as_ref().is_none_or(|(old, at)| {
                    at.elapsed() >= profile.report() || essence(old) != essence(&status)
                });
            if due {
                if let Err(error) = self.write(&status).await {
                    let (node, error) = (self.ctx.config.name.as_str(), error.text());
                    tracing::debug!(node, error, "node status not written");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                    continue;
                }
                pause = PAUSE;
                self.before = status.conditions.clone().unwrap_or_default();
                told = Some((status, Instant::now()));
            }
            tokio::select! {
                () = tokio::time::sleep(profile.observe()) => {}
                () = changed.notified() => {}
            }
        }
    }

    /// The status now.
    async fn status(&self) -> NodeStatus {
        let ctx = &self.ctx;
        // Without a list of images the node is still a node.
        let images = ctx.runtime.list_images().await.unwrap_or_default();
        let version = ctx.runtime.version().await;
        let unready = version.err().map(|error| format!("container runtime: {error}"));
        let pressure: Pressure = conditions::pressure(&ctx.config);
        let now = Time(jiff::Timestamp::now());
        let mut status = object::status(&ctx.config, &self.capacity, &self.info, &images);
        let conditions = conditions::conditions(pressure, unready.as_deref(), &self.before, &now);
        status.conditions = Some(conditions);
        status
    }

    /// Writes the status.
    async fn write(&self, status: &NodeStatus) -> Result<()> {
        let mut status = serde_json::to_value(status).unwrap_or_default();
        // Addresses merge by type, and two of one type would both be kept.
        if let Some(addresses) = status["addresses"].as_array_mut() {
            addresses.insert(0, json!({"$patch": "replace"}));
        }
        let patch = Patch::Strategic(json!({"status": status}));
        self.ctx.client.patch_status::<Node>("", &self.ctx.config.name, patch).await?;
        Ok(())
    }
}

/// Whether the API server shows the conditions as they were told.
fn agree(known: &[NodeCondition], told: &[NodeCondition]) -> bool {
    told.iter().all(|told| {
        let known = known.iter().find(|known| known.type_ == told.type_);
        known.is_some_and(|known| known.status == told.status)
    })
}

/// A status without times: what a change is measured by.
fn essence(status: &NodeStatus) -> Value {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
        condition.last_transition_time = None;
    }
    serde_json::to_value(status).unwrap_or_default()
}
