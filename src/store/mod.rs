//! `trireme store`: the store alone, for programs that want an etcd. A binary with the name `etcd`
//! is this command.

mod arguments;
mod config_file;
mod dump;
pub(crate) mod duration;
mod flags;
#[cfg(test)]
mod fuzz;
mod listen;
mod tls;

use anyhow::{Context, Result};
use std::time::Duration;
use stdx::Shutdown;
use stdx::telemetry::Format;

pub(crate) use arguments::prepare;
pub(crate) use flags::StoreFlags;

/// Where a member that runs alone keeps its data, behind its name, when nobody says otherwise.
const DATA_DIR_SUFFIX: &str = ".etcd";
/// What those who start an etcd wait for in its log.
const READY: &str = "ready to serve client requests";
/// Pause between two looks whether the cluster answers.
const LOOK: Duration = Duration::from_millis(50);

/// Run the store alone: the etcd v3 API on Raft and RocksDB, with etcd's flags.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, args_override_self = true)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What can be done with a store that does not run.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the log of a stopped member as requests, one JSON object a line.
    DumpLog(dump::Args),
}

impl Args {
    /// What to log, if etcd's flags say so.
    pub(crate) fn log_filter(&self) -> Option<String> {
        self.store.log_filter()
    }
}

/// Runs until a signal, or until consensus fails.
pub(crate) async fn run(args: Args) -> Result<()> {
    if let Some(Command::DumpLog(args)) = &args.command {
        return dump::run(args).await;
    }
    let shutdown = Shutdown::new();
    let default = format!("{}{DATA_DIR_SUFFIX}", args.store.name);
    let config = args.store.config(default.into())?;
    let urls = config.client_urls.join(",");
    let clients = store::Serving::from(&config);
    let handle = store::start(config, shutdown.clone()).await?;
    let serving = crate::server::serve_store(clients, &handle, &shutdown).await?;
    let asked = handle.clone();
    stdx::task::spawn("store-ready", async move {
        while asked.barrier().await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
        match stdx::telemetry::format() {
            Format::Text => crate::term::note(format!("{READY} at {urls}")),
            Format::Json => tracing::info!(urls, "{READY}"),
        }
    });
    tokio::select! {
        closed = handle.closed() => return closed.context("the store ended"),
        () = crate::dev::interrupted() => {}
    }
    shutdown.trigger();
    let _ = serving.await;
    handle.closed().await.context("the store ended")
}

/// What `etcd --version` prints, for those who look for a version there.
pub(crate) fn version() -> String {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let machine = if machine == "x86_64" { "amd64" } else { machine };
    format!(
        "etcd Version: {}\nGit SHA: trireme {}\nGo Version: none\nGo OS/Arch: {system}/{machine}",
        store::VERSION,
        env!("CARGO_PKG_VERSION"),
    )
}
