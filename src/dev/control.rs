//! Orders to a running dev cluster over a socket in its directory: one JSON line each way.

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use stdx::Shutdown;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::hosts::Hosts;
use super::layout::Dir;
use super::processes::Processes;

/// Longest order.
const LINE: u64 = 4096;

/// What can be done to a host.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Kill its process at once, as a crash does (SIGKILL).
    Kill,
    /// End its process in order (SIGTERM).
    Stop,
    /// Start its process again.
    Start,
    /// Pull its network cable out.
    Cut,
    /// Put its network cable back.
    Heal,
}

/// An order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What to do.
    pub action: Action,
    /// To which host.
    pub host: String,
}

/// The outcome of an order: a sentence, or an error.
type Outcome = std::result::Result<String, String>;

/// Takes orders until shutdown.
pub(crate) async fn serve(
    dir: Dir,
    processes: Arc<Processes>,
    hosts: Option<Arc<Hosts>>,
    shutdown: Shutdown,
) -> Result<()> {
    let path = dir.file("control.sock");
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    stdx::task::spawn("control", async move {
        while let Some(accepted) = shutdown.guard(listener.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            let (processes, hosts) = (processes.clone(), hosts.clone());
            stdx::task::spawn("order", async move {
                if let Err(error) = answer(stream, &processes, hosts.as_deref()).await {
                    tracing::debug!(error = format!("{error:#}"), "order not answered");
                }
            });
        }
        let _ = std::fs::remove_file(&path);
    });
    Ok(())
}

async fn answer(
    stream: UnixStream,
    processes: &Arc<Processes>,
    hosts: Option<&Hosts>,
) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(LINE).read_line(&mut line).await?;
    if !line.ends_with('\n') {
        bail!("an order of more than {LINE} bytes, or cut off");
    }
    let outcome: Outcome = match serde_json::from_str(&line) {
        Ok(order) => {
            carry_out(&order, processes, hosts).await.map_err(|error| format!("{error:#}"))
        }
        Err(error) => Err(format!("not an order: {error}")),
    };
    let mut text = serde_json::to_vec(&outcome)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    Ok(())
}

async fn carry_out(
    order: &Order,
    processes: &Arc<Processes>,
    hosts: Option<&Hosts>,
) -> Result<String> {
    let host = &*order.host;
    Ok(match order.action {
        Action::Kill => {
            processes.end(host, Signal::SIGKILL).await?;
            format!("{host} killed")
        }
        Action::Stop => {
            processes.end(host, Signal::SIGTERM).await?;
            format!("{host} stopped")
        }
        Action::Start => {
            let pid = processes.start(host)?;
            format!("{host} started (process {pid})")
        }
        Action::Cut | Action::Heal => {
            let plugged = order.action == Action::Heal;
            let hosts = hosts.context(
                "hosts can be cut off only where they have network namespaces: start dev as root",
            )?;
            if !processes.names().iter().any(|name| name == host) {
                bail!("no host {host:?}; there are {}", processes.names().join(", "));
            }
            hosts.set_cable(host, plugged).await?;
            processes.set_cut(host, !plugged)?;
            format!("{host} {}", if plugged { "connected again" } else { "cut off" })
        }
    })
}

/// Sends an order to the run that is in charge of a directory.
pub(crate) async fn send(dir: &Dir, order: &Order) -> Result<String> {
    let path = dir.file("control.sock");
    let stream = UnixStream::connect(&path).await.with_context(|| {
        format!("no cluster runs in {0}: trireme dev --data-dir {0}", dir.path().display())
    })?;
    let mut stream = BufReader::new(stream);
    let mut text = serde_json::to_vec(order)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let outcome: Outcome = serde_json::from_str(&line).context("the cluster gave no answer")?;
    outcome.map_err(|text| anyhow::anyhow!(text))
}
