//! What a run leaves behind when it is killed, and whether this machine can run containers at all.

use anyhow::{Context, Result, bail};

use super::hosts::Hosts;
use super::layout::{Cluster, Dir};
use super::processes;
use crate::node;

/// Removes containers, mounts, cgroups, namespaces and processes of this cluster. Data stays.
pub(super) async fn clean(
    dir: &Dir,
    cluster: Option<&Cluster>,
    hosts: Option<&Hosts>,
) -> Result<()> {
    processes::end_leftovers(dir)?;
    let Some(cluster) = cluster else { return Ok(()) };
    if cluster.runtime == "oci" {
        for host in cluster.nodes() {
            let config = node::runtime_config(
                &host.name,
                &dir.host(&host.name).join("data"),
                &dir.run_dir(),
                &format!("{}/{}", dir.cgroup(), host.name),
            );
            let cleaned = runtime::oci::cleanup(config).await;
            cleaned.with_context(|| format!("cleaning up the containers of {}", host.name))?;
        }
        unmount(dir)?;
    }
    if let Some(hosts) = hosts {
        hosts.remove().await?;
        remove_empty_cgroups(&dir.cgroup());
        let _ = std::fs::remove_dir_all(dir.run_dir());
    }
    let _ = std::fs::remove_file(dir.file("state.json"));
    Ok(())
}

/// Unmounts what is still mounted below the cluster's directory: volumes of Pods.
fn unmount(dir: &Dir) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("reading what is mounted")?;
    let mut points: Vec<String> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(|point| point.replace("\\040", " "))
        .filter(|point| std::path::Path::new(point).starts_with(dir.path()))
        .collect();
    // What was mounted last lies on top.
    points.reverse();
    for point in points {
        nix::mount::umount2(point.as_str(), nix::mount::MntFlags::MNT_DETACH)
            .with_context(|| format!("unmounting {point}"))?;
    }
    Ok(())
}

/// Removes the cluster's own cgroups, which are empty by now, in every hierarchy.
fn remove_empty_cgroups(cgroup: &str) {
    let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
    let name = cgroup.trim_start_matches('/');
    for hierarchy in hierarchies.flatten() {
        let path = hierarchy.path().join(name);
        if let Ok(children) = std::fs::read_dir(&path) {
            for child in children.flatten() {
                let _ = std::fs::remove_dir(child.path());
            }
        }
        let _ = std::fs::remove_dir(path);
    }
    let _ = std::fs::remove_dir(format!("/sys/fs/cgroup/{name}"));
}

/// Refuses a machine that lacks something for real containers, saying what.
pub(super) async fn probe() -> Result<()> {
    let runc = std::process::Command::new("runc").arg("--version").output();
    if !runc.is_ok_and(|output| output.status.success()) {
        bail!("runc is not installed: apt-get install runc, or use --runtime simulated");
    }
    network::probe(std::path::Path::new("/run/trireme"))
        .await
        .context("network namespaces can't be made here: use --runtime simulated")?;
    proxy::probe().context("nftables can't be used here: use --runtime simulated")
}
