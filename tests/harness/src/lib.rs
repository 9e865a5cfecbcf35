//! Starts real clusters for tests, breaks and mends their hosts, and cleans up after them, whatever happens.
//!
//! A [`Cluster`] is a running `trireme dev` with a directory of its own. Nothing here looks inside: everything goes
//! through the command line and the APIs, as a user would.

mod cluster;
pub mod faults;
pub mod history;
mod kubectl;
pub mod linearizable;
mod load;
pub mod nemeses;
pub mod registers;
pub mod store;
mod wait;
pub mod workload;

pub use cluster::{Cluster, Options, binary};
pub use kubectl::{Kubectl, Output};
pub use load::{Writer, Writes};
pub use wait::{patience, until, until_some};

use anyhow::Context;

/// A file of the repository, such as `examples/web.yaml`.
pub fn repository_file(name: &str) -> std::path::PathBuf {
    // Asked for when it runs: a build may come from a checkout that lay elsewhere.
    let here = std::env::var("CARGO_MANIFEST_DIR");
    let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    std::path::Path::new(&here)
        .ancestors()
        .nth(2)
        .expect("tests/harness lies two below the root")
        .join(name)
}

/// Resident memory of a process in bytes.
pub fn resident(pid: i32) -> anyhow::Result<u64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("reading its status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
