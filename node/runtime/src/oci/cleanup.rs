//! Takes everything of a node away: containers, shims, mounts, namespaces, cgroups. Images stay.
//!
//! First the orderly way, sandbox by sandbox; then whatever a crash has left, by what the kernel
//! knows.

use crate::{Config, Error, Result, cgroup};
use futures::StreamExt;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Sandboxes that are removed at a time.
const AT_A_TIME: usize = 4;
/// Killed processes get so many rounds to vanish.
const ROUNDS: u32 = 40;
/// Time between rounds.
const ROUND: Duration = Duration::from_millis(50);

/// Ends all containers of the node that this configuration describes, and removes all that the
/// `oci` runtime made on this machine, except images. To be called when no agent of the node runs;
/// repeating it is fine.
pub async fn cleanup(config: Config) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        // Without root there never was a container.
        return Ok(());
    }
    if config.data_dir.join("containers").exists() {
        match super::open(config.clone()) {
            Ok(runtime) => {
                let sandboxes = runtime.list_pod_sandboxes().await?;
                let removed =
                    futures::stream::iter(sandboxes).for_each_concurrent(AT_A_TIME, |sandbox| {
                        let runtime = runtime.clone();
                        async move {
                            if let Err(error) = runtime.remove_pod_sandbox(&sandbox.id).await {
                                tracing::warn!(error = stdx::chain(&error), "sandbox not removed");
                            }
                        }
                    });
                removed.await;
            }
            Err(error) => tracing::debug!(error = stdx::chain(&error), "nothing to end orderly"),
        }
    }
    let cgroups = cgroup::Hierarchy::detect();
    let cgroups = cgroups.map_err(|source| Error::Io { doing: "find cgroups".into(), source })?;
    for _ in 0..ROUNDS {
        cgroups.remove(&config.cgroup_parent);
        if !cgroups.exists(&config.cgroup_parent) {
            break;
        }
        tokio::time::sleep(ROUND).await;
    }
    if let Some((parent, _)) = config.cgroup_parent.rsplit_once('/') {
        // Other nodes of this machine may still have groups there.
        cgroups.remove_empty(parent);
    }
    let containers = config.data_dir.join("containers");
    for dir in [&containers, &config.state_dir] {
        unmount_below(dir)?;
    }
    for dir in [containers, config.data_dir.join("sandboxes"), config.state_dir] {
        match fs::remove_dir_all(&dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { doing: format!("remove {}", dir.display()), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Unmounts everything below a directory, the last one mounted first.
fn unmount_below(dir: &Path) -> Result<()> {
    let failed = |source| Error::Io { doing: "read the list of mounts".into(), source };
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let points: Vec<PathBuf> = points.filter(|point| point.starts_with(&dir)).collect();
    for point in points.iter().rev() {
        if let Err(error) = umount2(point, MntFlags::MNT_DETACH) {
            tracing::warn!(%error, point = %point.display(), "not unmounted");
        }
    }
    Ok(())
}

/// A path as mountinfo writes it: blanks and the like are octal numbers after a backslash.
fn unescaped(text: &str) -> PathBuf {
    let mut out = text.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(code, plain);
    }
    out.into()
}
