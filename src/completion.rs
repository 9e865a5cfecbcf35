//! `trireme completion`: completion scripts for shells.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints a script for the shell: `source <(trireme completion bash)`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    shell: Shell,
}

/// Prints it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = crate::cli::Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "trireme", &mut script);
    crate::term::line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
