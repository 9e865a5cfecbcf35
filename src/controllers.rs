//! `trireme controllers`: the controllers alone, against any API server.

use anyhow::{Context, Result};
use client::{Client, Informers, election};
use std::path::PathBuf;
use stdx::Shutdown;

use crate::server::ElectedFlags;

/// Run the controllers alone, against any API server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to reach the API servers.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Authority of the API servers, published in every namespace.
    #[arg(long, value_name = "FILE")]
    root_ca_file: PathBuf,
    #[command(flatten)]
    flags: ElectedFlags,
}

/// Runs until a signal.
pub(crate) async fn run(args: Args) -> Result<()> {
    let root_ca = std::fs::read_to_string(&args.root_ca_file)
        .with_context(|| format!("reading {}", args.root_ca_file.display()))?;
    let host = nix::unistd::gethostname().context("this host's name")?;
    let host = host.to_string_lossy().into_owned();
    let config = args.flags.controllers(&host, root_ca)?;
    let client = Client::from_kubeconfig(&args.kubeconfig)?;
    let shutdown = Shutdown::new();
    let informers = Informers::new(client.clone(), shutdown.clone());
    controllers::warm(&informers);
    let election = election::Config::new("kube-controller-manager", &host);
    let running = election::run(election, client, shutdown.clone(), move |term| {
        let (config, informers) = (config.clone(), informers.clone());
        async move {
            if let Err(error) =
                controllers::run(config, term.client, informers, term.shutdown).await
            {
                tracing::error!(error = stdx::chain(&error), "controllers ended");
            }
        }
    });
    crate::proxy::until_interrupted(Box::pin(running), &shutdown).await;
    Ok(())
}
