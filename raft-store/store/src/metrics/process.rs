//! What the system says about this process, under the names that every exporter uses.

use super::Sample;

/// Kernel clock ticks in a second, on every Linux there is.
const TICKS: f64 = 100.0;
/// Bytes of a page.
const PAGE: f64 = 4096.0;

/// Samples from `/proc`; what cannot be read is left out.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |name, kind, help, value: Option<f64>| {
        samples.extend(value.map(|value| Sample { name, kind, help, value }));
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold anything, but ends with the last parenthesis.
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // Fields by their numbers in proc(5), of which the third is the first here.
    let field = |number: usize| fields.get(number - 3).copied();
    let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS);
    add("process_cpu_seconds_total", "counter", "Seconds of processor time.", cpu);
    let resident = field(24).map(|pages| pages * PAGE);
    add("process_resident_memory_bytes", "gauge", "Memory in RAM.", resident);
    add("process_virtual_memory_bytes", "gauge", "Memory in addresses.", field(23));
    let start = boot_time().zip(field(22)).map(|(boot, ticks)| boot + ticks / TICKS);
    add("process_start_time_seconds", "gauge", "When the process began.", start);
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| count(files.count()));
    add("process_open_fds", "gauge", "Open file descriptors.", open);
    add("os_fd_used", "gauge", "Open file descriptors.", open);
    let limit = descriptor_limit().map(count);
    add("process_max_fds", "gauge", "Most open file descriptors.", limit);
    add("os_fd_limit", "gauge", "Most open file descriptors.", limit);
    samples
}

/// A number of things as a sample's value.
pub(super) fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Most files that this process may have open.
pub(super) fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
