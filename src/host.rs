//! `trireme host`: break and mend hosts of a dev cluster.

use anyhow::Result;
use std::path::PathBuf;

use crate::dev::control::{self, Action, Order};
use crate::{dev, term};

/// Kill, stop, start, cut off or reconnect a host of a dev cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    action: Action,
    /// To which host, such as master-1 or node-2.
    name: String,
    /// The cluster's directory.
    #[arg(long, env = "TRIREME_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Sends the order.
pub(crate) async fn run(args: Args) -> Result<()> {
    let (dir, _) = dev::open(&args.data_dir)?;
    let order = Order { action: args.action, host: args.name };
    term::line(control::send(&dir, &order).await?);
    Ok(())
}
