//! `trireme scheduler`: the scheduler alone, against any API server.

use anyhow::{Context, Result};
use client::{Client, Informers, election};
use std::path::PathBuf;
use stdx::Shutdown;

/// Run the scheduler alone, against any API server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to reach the API servers.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Pods with this `spec.schedulerName` are placed; another name than the default elects a leader of its own.
    #[arg(long, default_value = "default-scheduler")]
    scheduler_name: String,
}

/// Runs until a signal.
pub(crate) async fn run(args: Args) -> Result<()> {
    let host = nix::unistd::gethostname().context("this host's name")?;
    let host = host.to_string_lossy().into_owned();
    let client = Client::from_kubeconfig(&args.kubeconfig)?;
    let shutdown = Shutdown::new();
    let informers = Informers::new(client.clone(), shutdown.clone());
    scheduler::warm(&informers);
    let name = match args.scheduler_name.as_str() {
        "default-scheduler" => "kube-scheduler".to_owned(),
        other => other.to_owned(),
    };
    let config = scheduler::Config {
        instance: format!("{}-{host}", args.scheduler_name),
        scheduler_name: args.scheduler_name,
        ..scheduler::Config::default()
    };
    let election = election::Config::new(&name, &host);
    let running = election::run(election, client, shutdown.clone(), move |term| {
        let (config, informers) = (config.clone(), informers.clone());
        async move {
            if let Err(error) = scheduler::run(config, term.client, informers, term.shutdown).await
            {
                tracing::error!(error = stdx::chain(&error), "scheduler ended");
            }
        }
    });
    crate::proxy::until_interrupted(Box::pin(running), &shutdown).await;
    Ok(())
}
