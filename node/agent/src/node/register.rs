//! Registers the node, and waits for the range of its Pods.

use super::conditions::{Pressure, conditions};
use super::{machine, object};
use crate::config::Config;
use crate::error::{Error, Result};
use client::{Client, Informers, Patch, Selection};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::Runtime;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;
use tokio::sync::Notify;

/// The first pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// Registers the node and waits until it has a pod range: what is needed to open the pod network.
pub(crate) async fn register(
    config: &Config,
    client: &Client,
    runtime: &dyn Runtime,
    shutdown: &Shutdown,
) -> Result<Ipv4Net> {
    let work = async {
        let node = ensure(config, client, runtime, None).await?;
        match range(&node)? {
            Some(range) => Ok(range),
            None => wait(config, client, shutdown).await,
        }
    };
    let stopped = || Error::Config("stopped before the node was registered".into());
    shutdown.guard(Box::pin(work)).await.ok_or_else(stopped)?
}

/// Registers a node whose object was deleted while its agent runs. Its Pods keep their addresses,
/// so it asks for the range that it has.
pub(crate) async fn again(
    config: &Config,
    client: &Client,
    runtime: &dyn Runtime,
    range: Ipv4Net,
) -> Result<()> {
    tracing::info!(node = config.name, "node object is gone, registering again");
    ensure(config, client, runtime, Some(range)).await.map(|_| ())
}

/// The pod range of a Node, if it has one.
pub(crate) fn range(node: &Node) -> Result<Option<Ipv4Net>> {
    let spec = node.spec.as_ref();
    let all = spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
    let one = spec.and_then(|spec| spec.pod_cidr.clone());
    let mut ranges = all.iter().chain(&one).filter(|range| !range.is_empty()).peekable();
    if ranges.peek().is_none() {
        return Ok(None);
    }
    let found = ranges.find_map(|range| range.parse::<Ipv4Net>().ok());
    found.map(Some).ok_or_else(|| Error::Config("the node has no IPv4 pod range".into()))
}

/// Makes the Node object, or brings the one that is there in line. Tries until it works.
async fn ensure(
    config: &Config,
    client: &Client,
    runtime: &dyn Runtime,
    range: Option<Ipv4Net>,
) -> Result<Node> {
    let mut pause = PAUSE;
    loop {
        match attempt(config, client, runtime, range).await {
            Ok(node) => return Ok(node),
            Err(Error::Api(error)) if error.is_invalid() => return Err(Error::Api(error)),
            Err(error) => {
                let error = error.text();
                tracing::info!(node = config.name, error, "node not registered yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

/// One try.
async fn attempt(
    config: &Config,
    client: &Client,
    runtime: &dyn Runtime,
    range: Option<Ipv4Net>,
) -> Result<Node> {
    if let Some(node) = client.find::<Node>("", &config.name).await? {
        let labels = object::labels(config);
        let own = node.metadata.labels.clone().unwrap_or_default();
        if labels.iter().all(|(name, value)| own.get(name) == Some(value)) {
            return Ok(node);
        }
        let patch = Patch::Strategic(json!({"metadata": {"labels": labels}}));
        return Ok(client.patch("", &config.name, patch).await?);
    }
    let version = runtime.version().await?;
    let capacity = object::capacity(config, machine::read(&config.data_dir));
    let shown = format!("{}://{}", version.name, version.version);
    let info = machine::info(&config.version, &shown);
    let mut status = object::status(config, &capacity, &info, &[]);
    let why = Some("the node's agent is starting");
    let now = Time(jiff::Timestamp::now());
    status.conditions = Some(conditions(Pressure::default(), why, &[], &now));
    let mut node = object::node(config, status);
    if let (Some(spec), Some(range)) = (&mut node.spec, range) {
        spec.pod_cidr = Some(range.to_string());
        spec.pod_cidrs = Some(vec![range.to_string()]);
    }
    let created = client.create(&node).await;
    match created {
        Err(error) if error.is_already_exists() => Ok(client.get("", &config.name).await?),
        created => Ok(created?),
    }
}

/// Waits until the Node has a pod range.
async fn wait(config: &Config, client: &Client, shutdown: &Shutdown) -> Result<Ipv4Net> {
    let stop = shutdown.child();
    let informers = Informers::new(client.clone(), stop.clone());
    let fields = format!("metadata.name={}", config.name);
    let nodes = informers.selected::<Node>(Selection { fields, ..Selection::default() });
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    nodes.on_event(move |_| notify.notify_one());
    tracing::info!(node = config.name, "waiting for a pod range");
    let found = loop {
        let node = nodes.get("", &config.name);
        match node.map(|node| range(&node)).transpose() {
            Ok(Some(Some(range))) => break Ok(range),
            Err(error) => break Err(error),
            Ok(_) => changed.notified().await,
        }
    };
    stop.trigger();
    found
}
