//! `trireme apiserver`: API server and its replica of the store, without scheduler and controllers.

use anyhow::{Context, Result};

use crate::masters::ApiFlags;
use crate::server::Replica;
use crate::store::StoreFlags;

/// Run the API server (with its replica of the store) alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    api: ApiFlags,
}

/// Runs until a signal, or until consensus fails.
pub(crate) async fn run(args: Args) -> Result<()> {
    let replica = Replica::start(&args.store, &args.api).await?;
    tokio::select! {
        closed = replica.store.closed() => return closed.context("the store ended"),
        () = crate::dev::interrupted() => {}
    }
    replica.stop().await
}
