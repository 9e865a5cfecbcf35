//! `trireme`: the one binary. Every component is a subcommand; this file reads the command line and hands over.

mod apiserver;
mod cli;
mod completion;
mod config_file;
mod controllers;
mod dev;
mod env;
mod host;
mod image;
mod kubeconfig;
mod masters;
mod node;
mod place;
mod proxy;
mod scheduler;
mod server;
mod snapshot;
mod status;
mod store;
mod term;

use std::process::ExitCode;
use std::time::Duration;

/// The allocator: many small allocations, and memory goes back to the system. Tests bring one that counts.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long tasks may take to end, and to close their disks: only one that hangs takes so long.
const END: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // A container's shim is small and has an executor of its own.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == "shim") {
        let _ = nix::sys::prctl::set_thp_disable(false);
        return ExitCode::from(u8::try_from(runtime::shim::main(args)).unwrap_or(1));
    }
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let Err(error) = run(cli) else { return ExitCode::SUCCESS };
    term::error(&error);
    ExitCode::FAILURE
}

/// Settles the process, then runs its command to the end.
fn run(cli: cli::Cli) -> anyhow::Result<()> {
    place::settle(&cli.place)?;
    cli.begin_log();
    stdx::tls::install_provider();
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(cli.command.run());
    runtime.shutdown_timeout(END);
    outcome
}
