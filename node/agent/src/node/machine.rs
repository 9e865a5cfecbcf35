//! What the machine is and has, read from the kernel.

use k8s_openapi::api::core::v1::NodeSystemInfo;
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;

/// Number of the capability that lowers out-of-memory scores.
const SYS_RESOURCE: u32 = 24;
/// The lowest score there is.
const MIN_SCORE: i32 = -1000;

/// A machine's resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Processors.
    pub(crate) cpus: usize,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Bytes of the file system that Pods' files lie on.
    pub(crate) disk: u64,
}

/// Reads the machine's resources.
pub(crate) fn read(data_dir: &Path) -> Machine {
    Machine {
        cpus: std::thread::available_parallelism().map_or(1, |count| count.get()),
        memory: meminfo("MemTotal").unwrap_or(0),
        disk: disk(data_dir).map_or(0, |disk| disk.total),
    }
}

/// A line of `/proc/meminfo` in bytes.
pub(crate) fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    kilobytes(&text, name).map(|number| number * 1024)
}

/// A line of the form `Name:   123 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    /// Bytes in all.
    pub(crate) total: u64,
    /// Bytes left.
    pub(crate) free: u64,
    /// Files in all; 0 where there is no limit.
    pub(crate) inodes: u64,
    /// Files left.
    pub(crate) inodes_free: u64,
}

/// The file system that a path lies on.
pub(crate) fn disk(path: &Path) -> Option<Disk> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let stat = statvfs(existing).ok()?;
    Some(Disk {
        total: stat.blocks() * stat.fragment_size(),
        free: stat.blocks_available() * stat.fragment_size(),
        inodes: stat.files(),
        inodes_free: stat.files_available(),
    })
}

/// The lowest out-of-memory score that this process may give: without the right to lower it, its
/// own.
pub(crate) fn least_score() -> i32 {
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok();
    let own = own.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if may_lower_scores(&status) { MIN_SCORE } else { own }
}

/// Whether a process status names the capability SYS_RESOURCE.
fn may_lower_scores(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << SYS_RESOURCE) != 0)
}

/// What the node says about its system.
pub(crate) fn info(version: &str, runtime: &str) -> NodeSystemInfo {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let release = read("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    NodeSystemInfo {
        architecture: architecture().into(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime.into(),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: version.into(),
        machine_id: read("/etc/machine-id"),
        operating_system: "linux".into(),
        os_image: name.unwrap_or("Linux").trim_matches('"').to_owned(),
        system_uuid: read("/sys/class/dmi/id/product_uuid"),
        ..NodeSystemInfo::default()
    }
}

/// The architecture as Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_lower_scores_is_read_from_the_status() {
        assert!(may_lower_scores("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"));
        assert!(!may_lower_scores("CapEff:\t000001fffeffffff\n"));
        assert!(!may_lower_scores(""));
    }

    #[test]
    fn lines_of_meminfo_are_found_by_name() {
        let text = "MemTotal:       16384 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(kilobytes(text, "MemTotal"), Some(16384));
        assert_eq!(kilobytes(text, "Mem"), None);
    }
}
