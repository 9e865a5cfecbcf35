//! Waits until the cluster can be used: the API of every master, then the nodes.

use anyhow::{Context, Result, bail};
use client::Client;
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::layout::{Cluster, Dir};
use super::processes::Processes;

/// How long all this may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between looks.
const LOOK: Duration = Duration::from_millis(20);

/// What to wait for.
pub(crate) struct Ready {
    dir: Dir,
    processes: Arc<Processes>,
    /// A client for each master alone.
    masters: Vec<(String, Client)>,
}

impl Ready {
    /// Clients for all masters.
    pub(crate) fn new(dir: &Dir, cluster: &Cluster, processes: &Arc<Processes>) -> Result<Self> {
        let kubeconfig = dir.file("kubeconfig");
        let masters = cluster
            .masters()
            .map(|host| {
                let mut config = client::kubeconfig::load(&kubeconfig)?;
                config.servers = vec![host.url().parse()?];
                Ok((host.name.clone(), Client::remote(config)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self { dir: dir.clone(), processes: processes.clone(), masters })
    }

    /// Until every master serves a read that needs the store and the bootstrap objects.
    pub(crate) async fn masters(&self) -> Result<()> {
        let path = "/api/v1/namespaces/default/services/kubernetes";
        for (name, client) in &self.masters {
            self.until(name, || async {
                client.request(http::Method::GET, path, None).await.is_ok()
            })
            .await?;
        }
        Ok(())
    }

    /// Until so many nodes are Ready.
    pub(crate) async fn nodes(&self, count: usize) -> Result<()> {
        let Some((_, client)) = self.masters.first() else { bail!("no masters") };
        self.until("nodes", || async {
            let nodes = client.list::<Node>("", &client::ListOptions::default()).await;
            nodes.is_ok_and(|nodes| {
                nodes.items.iter().filter(|node| is_ready(node)).count() >= count
            })
        })
        .await
    }

    async fn until<F: Future<Output = bool>>(
        &self,
        what: &str,
        holds: impl Fn() -> F,
    ) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            if holds().await {
                return Ok(());
            }
            self.check_alive()?;
            if Instant::now() > end {
                let logs = self.dir.file("logs");
                bail!("{what} not ready after {PATIENCE:?}; look into {}", logs.display());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A process that ended will never be ready: its last words are the error.
    fn check_alive(&self) -> Result<()> {
        let Some(dead) = self.processes.running().into_iter().find(|one| one.pid.is_none()) else {
            return Ok(());
        };
        let log = self.dir.log(&dead.name);
        let text = std::fs::read_to_string(&log).context("reading its log")?;
        let last = text.lines().rev().find(|line| line.starts_with("error:"));
        let last = last.or_else(|| text.lines().last()).unwrap_or("it said nothing");
        bail!("{} ended at its start: {last} (log: {})", dead.name, log.display())
    }
}

/// Whether a node's condition Ready is True.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
