//! `trireme proxy`: the service proxy alone, against any API server.

use anyhow::{Context, Result};
use client::{Client, Informers};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use stdx::Shutdown;

/// Run the service proxy alone: Services as nftables rules of this host.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to reach the API servers.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Name of the Node; this host's name when not given.
    #[arg(long)]
    hostname_override: Option<String>,
    /// The node's own address.
    #[arg(long)]
    node_ip: Ipv4Addr,
    /// Range of all Pods: traffic from elsewhere to Services is masqueraded.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: Ipv4Net,
    /// Remove all rules of ours and end.
    #[arg(long)]
    cleanup: bool,
}

/// Runs until a signal.
pub(crate) async fn run(args: Args) -> Result<()> {
    if args.cleanup {
        return proxy::cleanup(proxy::TABLE).context("removing the rules");
    }
    let name = match args.hostname_override {
        Some(name) => name,
        None => nix::unistd::gethostname().context("this host's name")?.to_string_lossy().into(),
    };
    let client = Client::from_kubeconfig(&args.kubeconfig)?;
    let shutdown = Shutdown::new();
    let informers = Informers::new(client, shutdown.clone());
    let config = config(&name, args.node_ip, args.cluster_cidr);
    // Alone, it knows no Pods: their host ports are the node's own affair.
    let host_ports = proxy::HostPorts::default();
    let running = proxy::run(config, informers, host_ports, shutdown.clone());
    until_interrupted(running, &shutdown).await.unwrap_or(Ok(())).context("the proxy ended")
}

/// The proxy's settings.
pub(crate) fn config(name: &str, node_ip: Ipv4Addr, cluster_cidr: Ipv4Net) -> proxy::Config {
    proxy::Config::new(name, node_ip, cluster_cidr)
}

/// Runs a component until it ends or a signal comes; then it may end in order. `None` when that took too long.
pub(crate) async fn until_interrupted<F: Future>(
    running: F,
    shutdown: &Shutdown,
) -> Option<F::Output> {
    let mut running = std::pin::pin!(running);
    tokio::select! {
        output = &mut running => return Some(output),
        () = crate::dev::interrupted() => shutdown.trigger(),
    }
    tokio::time::timeout(std::time::Duration::from_secs(5), running).await.ok()
}
