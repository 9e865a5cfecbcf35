//! `trireme store dump-log`: what a member was asked, in the order in which all members did it.

use anyhow::{Context, Result, bail};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Print the log of a member as requests, one JSON object a line.
///
/// The log begins where the member has last thrown old entries away. Keys and values are base64.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the member keeps its data.
    #[arg(long, env = "ETCD_DATA_DIR")]
    data_dir: PathBuf,
}

/// Prints all, to standard output.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let dir = args.data_dir.clone();
    if !dir.join("raft").is_dir() {
        bail!("{} holds no member's data: it has no raft directory", dir.display());
    }
    let dumping = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let dumped = store::dump_log(&dir, &mut out);
        let flushed = out.flush();
        (dumped, flushed)
    });
    let (dumped, flushed) = dumping.await.context("reading the log")?;
    dumped?;
    flushed.context("writing the log to standard output")
}
