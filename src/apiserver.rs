//! `trireme apiserver`: an API server without scheduler and controllers, on its own replica of the store or on an
//! etcd outside.

use anyhow::{Context, Result};
use std::{path::PathBuf, sync::Arc, time::Duration};
use stdx::Shutdown;

use crate::masters::ApiFlags;
use crate::server::Replica;
use crate::store::{StoreFlags, duration};

/// Run the API server alone: with its replica of the store, or on an etcd outside (--etcd-servers).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    etcd: EtcdFlags,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    api: ApiFlags,
}

/// Flags of an etcd outside; names are kube-apiserver's.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "External etcd")]
struct EtcdFlags {
    /// URLs of an etcd v3 outside (a real etcd or `trireme store`); the flags of the store then only give this
    /// server its --name. Elections go by the times of their Leases there: the fast end of a dead holder's Lease
    /// needs the store inside.
    #[arg(long, value_delimiter = ',', value_name = "URL")]
    etcd_servers: Vec<String>,
    /// Authority of its certificates; needed for https.
    #[arg(long, value_name = "FILE")]
    etcd_cafile: Option<PathBuf>,
    /// Certificate to show it.
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys there begin with.
    #[arg(long, default_value = "/registry")]
    etcd_prefix: String,
    /// Time between two compactions there; 0s is never.
    #[arg(long, default_value = "5m", value_parser = duration::parse)]
    etcd_compaction_interval: Duration,
}

impl EtcdFlags {
    /// The storage's settings, if there is an etcd outside.
    fn config(&self) -> Option<server::storage::etcd::Config> {
        let mut config = server::storage::etcd::Config::new(self.etcd_servers.clone());
        config.ca.clone_from(&self.etcd_cafile);
        config.cert.clone_from(&self.etcd_certfile);
        config.key.clone_from(&self.etcd_keyfile);
        config.prefix.clone_from(&self.etcd_prefix);
        config.compaction = self.etcd_compaction_interval;
        (!config.servers.is_empty()).then_some(config)
    }
}

/// Runs until a signal, or until consensus fails.
pub(crate) async fn run(args: Args) -> Result<()> {
    if let Some(config) = args.etcd.config() {
        return outside(&args, &config).await;
    }
    let replica = Replica::start(&args.store, &args.api).await?;
    tokio::select! {
        closed = replica.store.closed() => return closed.context("the store ended"),
        () = crate::dev::interrupted() => {}
    }
    replica.stop().await
}

/// Runs on an etcd outside, until a signal.
async fn outside(args: &Args, config: &server::storage::etcd::Config) -> Result<()> {
    let api = args.api.config(&args.store.name)?;
    let shutdown = Shutdown::new();
    let storage = server::storage::etcd::Etcd::connect(config, &shutdown);
    let storage = Box::pin(storage).await.context("reaching --etcd-servers")?;
    let server = server::Server::start(api, Arc::new(storage), shutdown.clone()).await?;
    crate::dev::interrupted().await;
    shutdown.trigger();
    server.closed().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn an_etcd_outside_is_chosen_by_its_urls() {
        let parse = |flags: &[&str]| Line::try_parse_from([&["x"], flags].concat());
        let config = |flags: &[&str]| parse(flags).expect("flags").args.etcd.config();
        assert!(config(&[]).is_none());
        let config = config(&["--etcd-servers=http://a:1,http://b:2"]).expect("outside");
        assert_eq!(config.servers, ["http://a:1", "http://b:2"]);
        assert_eq!(config.prefix, "/registry");
        assert_eq!(config.compaction, Duration::from_secs(300));
        assert!(parse(&["--etcd-certfile=x"]).is_err());
    }
}
