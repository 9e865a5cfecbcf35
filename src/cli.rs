//! The command line: one row per command. What a command does is in the file of its name.

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;
use stdx::telemetry::Format;

use crate::place::Place;
use crate::{
    apiserver, completion, config_file, controllers, dev, env, host, image, node, proxy, scheduler,
    server, snapshot, status, store, term,
};

/// What is not logged unless it is asked for by name: openraft warns of every heartbeat that comes late and of every
/// attempt to reach a member that is away, and calls it an error that a member which ends takes no more messages. What
/// matters of that is logged by our own crate.
const QUIET: &str = "openraft=error,openraft::raft::raft_inner=off";

/// Kubernetes whose masters you can kill.
///
/// One binary holds every part of a cluster: control-plane replicas that form a Raft group with the store inside
/// (they speak the etcd v3 API), a Kubernetes v1.37 API server on each of them, scheduler and controllers that elect
/// their leader, and node agents with a service proxy and a pod network.
///
/// Begin with:  trireme dev --data-dir /tmp/trireme
#[derive(Debug, Parser)]
#[command(name = "trireme", version, propagate_version = true, args_override_self = true)]
#[command(after_help = "Every flag can also come from --config FILE (YAML, one key per flag) or \
                        from the environment as shown in a command's --help.")]
pub(crate) struct Cli {
    /// What to log: a level, or filters such as `info,store=debug`.
    #[arg(
        long,
        global = true,
        env = "TRIREME_LOG",
        default_value = "warn,netlink_packet_route=error",
        value_name = "FILTER"
    )]
    log: String,
    /// How to log: text (or console) or json.
    #[arg(long, global = true, env = "TRIREME_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Where the process runs.
    #[command(flatten)]
    pub place: Place,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is to be said of the command line once there is a log.
    #[arg(skip)]
    pub remarks: Vec<&'static str>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    #[value(alias = "console")]
    Text,
    Json,
}

impl Cli {
    /// Begins to log.
    pub(crate) fn begin_log(&self) {
        stdx::telemetry::init(&self.log_filter(), self.log_format());
        self.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    }

    /// What to log.
    fn log_filter(&self) -> String {
        let of_command = match &self.command {
            Command::Store(args) => args.log_filter(),
            _ => None,
        };
        format!("{QUIET},{}", of_command.as_deref().unwrap_or(&self.log))
    }

    /// How to log.
    fn log_format(&self) -> Format {
        match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a whole cluster on this machine and stay in the foreground.
    Dev(dev::Args),
    /// Show members, nodes and leaders of a cluster that `dev` started.
    Status(status::Args),
    /// Print shell exports that let kubectl and etcdctl speak to that cluster.
    Env(env::Args),
    /// Kill, stop, start or cut off one host of that cluster.
    Host(host::Args),
    /// Import and list container images of nodes.
    Image(image::Args),
    /// Run one control-plane replica: store, API server, scheduler and controllers.
    Server(Box<server::Args>),
    /// Run one node: agent, pod network and service proxy.
    Node(Box<node::Args>),
    /// Run the store alone: etcd v3 API on Raft and RocksDB.
    Store(Box<store::Args>),
    /// Save, look into and restore snapshots of the store, or of an etcd.
    Snapshot(snapshot::Args),
    /// Run the API server (with its replica of the store) alone.
    Apiserver(Box<apiserver::Args>),
    /// Run the controllers alone, against any API server.
    Controllers(controllers::Args),
    /// Run the scheduler alone, against any API server.
    Scheduler(scheduler::Args),
    /// Run the service proxy alone, against any API server.
    Proxy(proxy::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
}

impl Command {
    /// Runs the command to its end.
    pub(crate) async fn run(self) -> Result<()> {
        match self {
            Self::Dev(args) => dev::run(args).await,
            Self::Status(args) => status::run(args).await,
            Self::Env(args) => env::run(&args),
            Self::Host(args) => host::run(args).await,
            Self::Image(args) => image::run(args).await,
            Self::Server(args) => server::run(*args).await,
            Self::Node(args) => node::run(*args).await,
            Self::Store(args) => store::run(*args).await,
            Self::Snapshot(args) => snapshot::run(args).await,
            Self::Apiserver(args) => apiserver::run(*args).await,
            Self::Controllers(args) => Box::pin(controllers::run(args)).await,
            Self::Scheduler(args) => Box::pin(scheduler::run(args)).await,
            Self::Proxy(args) => proxy::run(args).await,
            Self::Completion(args) => completion::run(&args),
        }
    }
}

/// Reads the command line and a config file named there.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let failed = |error: anyhow::Error| {
        term::error(&error);
        ExitCode::FAILURE
    };
    let prepared = store::prepare(std::env::args_os().collect()).map_err(failed)?;
    if prepared.wants_version {
        term::line(store::version());
        return Err(ExitCode::SUCCESS);
    }
    let args = config_file::expand(prepared.args).map_err(failed)?;
    let mut command = Cli::command();
    if !prepared.uses_environment {
        let without = |arg: clap::Arg| arg.env(None::<&str>);
        command = command.mut_subcommand("store", |store| store.mut_args(without));
    }
    let matches = command.try_get_matches_from(args);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => Ok(Cli { remarks: prepared.remarks, ..cli }),
        Err(error) => {
            let _ = error.print();
            Err(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
