//! The conditions of a node: whether it can take Pods, and what it runs short of.

use super::machine::{self, Disk};
use crate::{Threshold, config::Config};
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Memory below this is pressure.
const MEMORY_LEFT: u64 = 100 << 20;
/// Of a disk's files: with fewer left there is pressure.
const INODES_LEFT: Threshold = Threshold::Percent(5);
/// Of process ids: with fewer left there is pressure.
const PIDS_LEFT: Threshold = Threshold::Percent(5);

/// What the machine runs short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// Memory.
    pub(crate) memory: bool,
    /// Disk.
    pub(crate) disk: bool,
    /// Process ids.
    pub(crate) pids: bool,
}

/// Looks at the machine.
pub(crate) fn pressure(config: &Config) -> Pressure {
    if !config.files {
        // Simulated Pods use nothing of this machine.
        return Pressure::default();
    }
    let available = machine::meminfo("MemAvailable");
    Pressure {
        memory: available.is_some_and(|available| available < MEMORY_LEFT),
        disk: machine::disk(&config.data_dir).is_some_and(|disk| is_full(disk, config.disk_left)),
        pids: pids()
            .is_some_and(|(used, most)| PIDS_LEFT.is_crossed(most.saturating_sub(used), most)),
    }
}

/// Whether a disk has less left than it must.
fn is_full(disk: Disk, left: Threshold) -> bool {
    left.is_crossed(disk.free, disk.total) || INODES_LEFT.is_crossed(disk.inodes_free, disk.inodes)
}

/// Tasks that exist and that may exist.
fn pids() -> Option<(u64, u64)> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let used = load.split_whitespace().nth(3)?.split('/').nth(1)?.parse().ok()?;
    let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
    Some((used, most))
}

/// All conditions. `unready` says why the node cannot take Pods; times of transitions come from
/// `before`.
pub(crate) fn conditions(
    pressure: Pressure,
    unready: Option<&str>,
    before: &[NodeCondition],
    now: &Time,
) -> Vec<NodeCondition> {
    let one = |type_: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        let old = before.iter().find(|old| old.type_ == type_ && old.status == status);
        let since = old.and_then(|old| old.last_transition_time.clone());
        NodeCondition {
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: since.or_else(|| Some(now.clone())),
            message: Some(message.into()),
            reason: Some(reason.into()),
            status: status.into(),
            type_: type_.into(),
        }
    };
    let pick = |holds: bool, words: [&'static str; 4]| match holds {
        true => (words[0], words[1]),
        false => (words[2], words[3]),
    };
    let memory = pick(
        pressure.memory,
        [
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ],
    );
    let disk = pick(
        pressure.disk,
        [
            "KubeletHasDiskPressure",
            "kubelet has disk pressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ],
    );
    let pids = pick(
        pressure.pids,
        [
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ],
    );
    let ready = match unready {
        Some(why) => one("Ready", false, "KubeletNotReady", why),
        None => one("Ready", true, "KubeletReady", "kubelet is posting ready status"),
    };
    vec![
        one("MemoryPressure", pressure.memory, memory.0, memory.1),
        one("DiskPressure", pressure.disk, disk.0, disk.1),
        one("PIDPressure", pressure.pids, pids.0, pids.1),
        ready,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_transitions_change_only_with_the_status() {
        let at = |seconds: i64| Time(jiff::Timestamp::from_second(seconds).unwrap());
        let first = conditions(Pressure::default(), Some("not yet"), &[], &at(1));
        let second = conditions(Pressure::default(), None, &first, &at(2));
        let since = |all: &[NodeCondition], name: &str| {
            let found = all.iter().find(|one| one.type_ == name).unwrap();
            (found.status.clone(), found.last_transition_time.clone().unwrap())
        };
        assert_eq!(since(&second, "Ready"), ("True".into(), at(2)));
        assert_eq!(since(&second, "DiskPressure"), ("False".into(), at(1)));
    }
}
