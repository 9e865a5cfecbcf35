//! Control groups, version 1 (one tree per controller) and version 2 (one tree): pod limits, use,
//! and removal.
//!
//! Containers' own groups are made by the OCI runtime; this file makes their parents and reads all
//! of them.

use crate::{Resources, Stats};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the groups of this machine are mounted.
#[derive(Clone, Debug)]
pub enum Hierarchy {
    /// Mount points of the controllers of version 1, each with the controllers that it carries.
    V1(Vec<(PathBuf, Vec<String>)>),
    /// The mount point of version 2.
    V2(PathBuf),
}

impl Hierarchy {
    /// Looks at what is mounted. A machine with any version 1 controller counts as version 1.
    pub fn detect() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// Reads a mountinfo text.
    fn parse(mountinfo: &str) -> Self {
        let (mut v1, mut v2) = (Vec::new(), PathBuf::from("/sys/fs/cgroup"));
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default().split(',');
                    let names: Vec<String> =
                        options.filter(|name| *name != "rw").map(str::to_owned).collect();
                    if !v1.iter().any(|(seen, _)| seen == Path::new(point)) {
                        v1.push((PathBuf::from(point), names));
                    }
                }
                Some("cgroup2") => v2 = point.into(),
                _ => {}
            }
        }
        let controllers = v1.iter().any(|(_, names)| names.iter().any(|name| name == "memory"));
        if controllers { Self::V1(v1) } else { Self::V2(v2) }
    }

    /// The directory of a group for one controller.
    fn dir(&self, controller: &str, group: &str) -> Option<PathBuf> {
        let group = group.trim_start_matches('/');
        match self {
            Self::V2(root) => Some(root.join(group)),
            Self::V1(mounts) => mounts
                .iter()
                .find(|(_, names)| names.iter().any(|name| name == controller))
                .map(|(point, _)| point.join(group)),
        }
    }

    /// Every directory of a group.
    fn dirs(&self, group: &str) -> Vec<PathBuf> {
        let group = group.trim_start_matches('/');
        match self {
            Self::V2(root) => vec![root.join(group)],
            Self::V1(mounts) => mounts.iter().map(|(point, _)| point.join(group)).collect(),
        }
    }

    /// Makes a group with limits. Limits that this machine's controllers cannot set are left out.
    pub fn create(&self, group: &str, resources: &Resources) -> io::Result<()> {
        match self {
            Self::V2(root) => enable(&descend(root, group)?)?,
            Self::V1(mounts) => {
                for (point, names) in mounts {
                    if names.iter().any(|name| name == "cpuset") {
                        cpuset(point, group)?;
                    } else if names.iter().any(|name| LIMITING.contains(&name.as_str())) {
                        fs::create_dir_all(point.join(group.trim_start_matches('/')))?;
                    }
                }
            }
        }
        self.limit(group, resources)
    }

    /// Sets the limits of a group.
    pub fn limit(&self, group: &str, resources: &Resources) -> io::Result<()> {
        for (controller, file, value) in self.settings(resources) {
            if let Some(dir) = self.dir(controller, group) {
                let path = dir.join(file);
                if path.exists() {
                    fs::write(path, value)?;
                }
            }
        }
        Ok(())
    }

    /// What limits mean in files: controller, file, text.
    fn settings(&self, resources: &Resources) -> Vec<(&'static str, &'static str, String)> {
        let v2 = matches!(self, Self::V2(_));
        let mut settings = Vec::new();
        if resources.cpu_shares > 0 {
            let shares = resources.cpu_shares;
            settings.push(match v2 {
                true => ("cpu", "cpu.weight", weight(shares).to_string()),
                false => ("cpu", "cpu.shares", shares.to_string()),
            });
        }
        if resources.cpu_quota > 0 {
            let (quota, period) = (resources.cpu_quota, resources.cpu_period.max(1000));
            if v2 {
                settings.push(("cpu", "cpu.max", format!("{quota} {period}")));
            } else {
                settings.push(("cpu", "cpu.cfs_period_us", period.to_string()));
                settings.push(("cpu", "cpu.cfs_quota_us", quota.to_string()));
            }
        }
        if resources.memory_bytes > 0 {
            let file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
            settings.push(("memory", file, resources.memory_bytes.to_string()));
        }
        if resources.pids > 0 {
            settings.push(("pids", "pids.max", resources.pids.to_string()));
        }
        settings
    }

    /// Moves a process into a group of its own kind, where nothing is limited, so that whoever ends
    /// the agent's group (systemd does) does not end the process too.
    pub fn join(&self, group: &str, pid: u32) -> io::Result<()> {
        let dirs = match self {
            // A group whose children have controllers takes no process itself.
            Self::V2(root) => vec![descend(root, group)?],
            Self::V1(mounts) => {
                let own = |names: &Vec<String>| {
                    names.iter().any(|name| name == "name=systemd" || name == "pids")
                };
                let group = group.trim_start_matches('/');
                let mounts = mounts.iter().filter(|(_, names)| own(names));
                mounts.map(|(point, _)| point.join(group)).collect()
            }
        };
        for dir in dirs {
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Removes a group and all groups below; processes in them are killed.
    pub fn remove(&self, group: &str) {
        for dir in self.dirs(group) {
            remove_tree(&dir, true);
        }
    }

    /// Whether any part of a group is there.
    pub fn exists(&self, group: &str) -> bool {
        self.dirs(group).iter().any(|dir| dir.exists())
    }

    /// Removes a group that holds nothing any more; others stay.
    pub fn remove_empty(&self, group: &str) {
        for dir in self.dirs(group) {
            let _ = fs::remove_dir(dir);
        }
    }

    /// How often the kernel has killed in a group for want of memory.
    pub fn oom_kills(&self, group: &str) -> u64 {
        let file = match self {
            Self::V2(_) => "memory.events",
            Self::V1(_) => "memory.oom_control",
        };
        let text = self.read("memory", group, file);
        field(&text, "oom_kill")
    }

    /// What a group uses; zeros for what cannot be read.
    pub fn stats(&self, group: &str) -> Stats {
        let mut stats = Stats {
            at: crate::shim::now_nanos(),
            pids: number(&self.read("pids", group, "pids.current")),
            ..Stats::default()
        };
        let memory = self.read("memory", group, "memory.stat");
        let inactive = match self {
            Self::V2(_) => {
                stats.cpu_nanos = field(&self.read("cpu", group, "cpu.stat"), "usage_usec") * 1000;
                stats.memory_usage = number(&self.read("memory", group, "memory.current"));
                stats.memory_rss = field(&memory, "anon");
                field(&memory, "inactive_file")
            }
            Self::V1(_) => {
                stats.cpu_nanos = number(&self.read("cpuacct", group, "cpuacct.usage"));
                stats.memory_usage = number(&self.read("memory", group, "memory.usage_in_bytes"));
                stats.memory_rss = field(&memory, "total_rss");
                field(&memory, "total_inactive_file")
            }
        };
        stats.memory_working_set = stats.memory_usage.saturating_sub(inactive);
        stats
    }

    /// A file of a group, empty when it is not there.
    fn read(&self, controller: &str, group: &str, file: &str) -> String {
        self.dir(controller, group)
            .and_then(|dir| fs::read_to_string(dir.join(file)).ok())
            .unwrap_or_default()
    }
}

/// Controllers of version 1 in which pods get groups.
const LIMITING: &[&str] = &["cpu", "cpuacct", "memory", "pids"];

/// Weight of version 2 for shares of version 1, as runc 1.3.2 and later translate it.
pub fn weight(shares: u64) -> u64 {
    let shares = u32::try_from(shares.clamp(2, 262_144)).expect("clamped");
    let log = f64::from(shares).log2();
    let exponent = log.mul_add(log, 125.0 * log) / 612.0 - 7.0 / 34.0;
    // The exponent is between 0 and 4, so this is between 1 and 10,000.
    10f64.powf(exponent).ceil() as u64
}

/// Makes a version 2 group; all above it pass controllers on.
fn descend(root: &Path, group: &str) -> io::Result<PathBuf> {
    let mut dir = root.to_owned();
    for part in group.split('/').filter(|part| !part.is_empty()) {
        enable(&dir)?;
        dir.push(part);
        fs::create_dir_all(&dir)?;
    }
    Ok(dir)
}

/// Lets the children of a version 2 group have controllers; those that cannot be had are left out.
fn enable(dir: &Path) -> io::Result<()> {
    let available = fs::read_to_string(dir.join("cgroup.controllers"))?;
    for controller in available.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

/// Makes a version 1 cpuset group: it takes no process before it has processors and memory, top
/// down.
fn cpuset(point: &Path, group: &str) -> io::Result<()> {
    let mut dir = point.to_owned();
    for part in group.split('/').filter(|part| !part.is_empty()) {
        let parent = dir.clone();
        dir.push(part);
        fs::create_dir_all(&dir)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(dir.join(file))?.trim().is_empty() {
                fs::write(dir.join(file), fs::read_to_string(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

/// Removes the directories of a group, children first.
fn remove_tree(dir: &Path, kill: bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), kill);
        }
    }
    if kill {
        for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Ok(pid) = pid.parse() {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
    let _ = fs::remove_dir(dir);
}

/// A file that holds one number.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_default()
}

/// A line `name value` of a file.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| number(value))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_the_weights_of_newer_runtimes() {
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 100, 10_000]);
    }

    #[test]
    fn both_versions_are_recognised() {
        let v1 = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  31 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert!(matches!(Hierarchy::parse(v1), Hierarchy::V1(mounts) if mounts.len() == 1));
        let v2 = "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(matches!(Hierarchy::parse(v2), Hierarchy::V2(root) if root.ends_with("cgroup")));
    }

    /// A directory that looks like a version 2 tree with these groups.
    fn tree(groups: &[&str]) -> PathBuf {
        let name = format!("trireme-cgroup-{:08x}", rand::random::<u32>());
        let root = std::env::temp_dir().join(name);
        for group in groups {
            let dir = root.join(group);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.controllers"), "memory pids cpu\n").unwrap();
            for file in ["cpu.max", "cpu.weight", "memory.max", "pids.max"] {
                fs::write(dir.join(file), "max").unwrap();
            }
        }
        root
    }

    #[test]
    fn version_2_groups_pass_controllers_on_and_take_limits() {
        let root = tree(&["", "node", "node/pod", "node/shims"]);
        let v2 = Hierarchy::V2(root.clone());
        let resources = Resources {
            cpu_shares: 1024,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            memory_bytes: 64 << 20,
            pids: 100,
            ..Resources::default()
        };
        v2.create("/node/pod", &resources).unwrap();
        let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
        assert_eq!(read("node/pod/cpu.max"), "50000 100000");
        assert_eq!(read("node/pod/cpu.weight"), "100");
        assert_eq!(read("node/pod/memory.max"), (64 << 20).to_string());
        assert_eq!(read("node/pod/pids.max"), "100");
        for group in ["", "node/", "node/pod/"] {
            assert_eq!(read(&format!("{group}cgroup.subtree_control")), "+cpu", "{group}");
        }
        // A group with processes must not pass controllers on: the kernel says EBUSY.
        v2.join("/node/shims", 4711).unwrap();
        assert_eq!(read("node/shims/cgroup.procs"), "4711");
        assert_eq!(read("node/shims/cgroup.subtree_control"), "");
        fs::write(root.join("node/pod/memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        fs::write(root.join("node/pod/memory.current"), "1000\n").unwrap();
        fs::write(root.join("node/pod/memory.stat"), "anon 600\ninactive_file 300\n").unwrap();
        fs::write(root.join("node/pod/cpu.stat"), "usage_usec 5\n").unwrap();
        assert_eq!(v2.oom_kills("/node/pod"), 2);
        let stats = v2.stats("/node/pod");
        assert_eq!((stats.cpu_nanos, stats.memory_rss, stats.memory_working_set), (5000, 600, 700));
        fs::remove_dir_all(root).unwrap();
    }
}
