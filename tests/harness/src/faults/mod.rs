//! What goes wrong beneath a store's members: networks, disks, clocks. Everything is made of what
//! this machine has, carries a name of its own, and goes when it is dropped; what a killed test
//! process left behind goes at the next start.

pub mod disk;
pub mod ill;
pub mod network;

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Beginning of the names of all that is made here; a process id follows.
pub const PREFIX: &str = "trireme-faults-";

/// A program with its arguments, told nothing by the terminal.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a program; an error says what it said.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let outcome = command(program, arguments).output().await;
    let outcome = outcome.with_context(|| format!("running {program}"))?;
    if !outcome.status.success() {
        let said = String::from_utf8_lossy(&outcome.stderr).trim().to_owned();
        bail!("{program} {}: {said}", arguments.join(" "));
    }
    Ok(())
}

/// Runs a program that cleans up, whatever comes of it.
fn wait_gone(program: &str, arguments: &[&str]) {
    let mut command = std::process::Command::new(program);
    let _ = command.args(arguments).stdin(Stdio::null()).output();
}

/// Whether a process runs.
fn is_alive(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

/// Something of the machine that a fault is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The rights of root.
    Root,
    /// A program.
    Program(&'static str),
    /// Loop devices.
    Loop,
}

impl Need {
    /// Why it is not there; nothing if it is.
    pub fn missing(self) -> Option<String> {
        let there = match self {
            Self::Root => nix::unistd::geteuid().is_root(),
            Self::Loop => Path::new("/dev/loop-control").exists(),
            Self::Program(name) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let places = ["/usr/sbin", "/sbin"].map(Into::into);
                std::env::split_paths(&path).chain(places).any(|dir| dir.join(name).is_file())
            }
        };
        (!there).then(|| match self {
            Self::Root => "this is not root".to_owned(),
            Self::Loop => "there are no loop devices".to_owned(),
            Self::Program(name) => format!("there is no {name}"),
        })
    }
}

/// Removes what killed test processes have left: mounts, namespaces, directories.
pub fn remove_leftovers() -> Result<()> {
    network::remove_leftovers()?;
    for entry in std::fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !is_alive(process)) {
            disk::remove_leftovers(&entry.path())?;
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
