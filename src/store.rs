//! `trireme store`: the store alone, for programs that want an etcd.

use anyhow::{Context, Result};
use stdx::Shutdown;

use crate::masters::StoreFlags;

/// Run the store alone: the etcd v3 API on Raft and RocksDB, with etcd's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreFlags,
}

/// Runs until a signal, or until consensus fails.
pub(crate) async fn run(args: Args) -> Result<()> {
    let shutdown = Shutdown::new();
    let config = args.store.config()?;
    let urls = config.client_urls.join(",");
    let clients = store::Serving::from(&config);
    let handle = store::start(config, shutdown.clone()).await?;
    let serving = crate::server::serve_store(clients, &handle, &shutdown);
    crate::term::note(format!("ready to serve client requests at {urls}"));
    tokio::select! {
        closed = handle.closed() => return closed.context("the store ended"),
        () = crate::dev::interrupted() => {}
    }
    shutdown.trigger();
    let _ = serving.await;
    handle.closed().await.context("the store ended")
}
