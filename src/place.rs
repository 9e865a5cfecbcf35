//! Where a process runs: in which network namespace, and whose end is its own end. Settled before any thread starts,
//! because a namespace belongs to a thread.

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use std::fs::File;
use std::path::PathBuf;

/// Flags of every command that `trireme dev` sets for the processes that it starts.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Place {
    /// Network namespace to run in, as a path.
    #[arg(long, global = true, hide = true, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    /// End when this parent process ends.
    #[arg(long, global = true, hide = true, value_name = "PID")]
    pub die_with: Option<i32>,
}

/// Enters the namespace and binds this process's life to its parent's.
///
/// It also does without huge pages, which make a heap of many small things several times as large. Children inherit
/// that; a container's shim takes it back.
pub(crate) fn settle(place: &Place) -> Result<()> {
    let _ = nix::sys::prctl::set_thp_disable(true);
    if let Some(parent) = place.die_with {
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("binding to the parent")?;
        if getppid() != Pid::from_raw(parent) {
            bail!("the process that started this one has ended already");
        }
    }
    if let Some(path) = &place.netns {
        let file = File::open(path)
            .with_context(|| format!("opening network namespace {}", path.display()))?;
        setns(file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering network namespace {}", path.display()))?;
    }
    Ok(())
}
