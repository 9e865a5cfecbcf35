//! What happened to leases, as every member sees it; renewals and ends as the leader does.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of seconds: 1, 2, 4 … 2^23.
const BOUNDS: usize = 24;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    granted: AtomicU64,
    revoked: AtomicU64,
    renewed: AtomicU64,
    expired: AtomicU64,
    /// Granted ones by the bound that their seconds are not above; the last has none.
    seconds: [AtomicU64; BOUNDS + 1],
    total: AtomicU64,
}

impl Leases {
    /// One was granted.
    pub(crate) fn grant(&self, seconds: i64) {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let bound = (0..BOUNDS).find(|bound| seconds <= 1 << bound).unwrap_or(BOUNDS);
        add(&self.seconds[bound], 1);
        add(&self.total, seconds);
        add(&self.granted, 1);
    }

    /// One was ended, by whomever.
    pub(crate) fn revoke(&self) {
        add(&self.revoked, 1);
    }

    /// One was renewed.
    pub(crate) fn renew(&self) {
        add(&self.renewed, 1);
    }

    /// So many have run out.
    pub(crate) fn expire(&self, count: u64) {
        add(&self.expired, count);
    }

    /// How many were renewed.
    #[cfg(test)]
    pub(crate) fn renewals(&self) -> u64 {
        self.renewed.load(Ordering::Relaxed)
    }

    /// Writes all counts.
    pub(super) fn write(&self, text: &mut String) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, help, value) in [
            ("etcd_debugging_lease_granted_total", "Leases granted.", count(&self.granted)),
            ("etcd_debugging_lease_revoked_total", "Leases ended.", count(&self.revoked)),
            ("etcd_debugging_lease_renewed_total", "Renewals.", count(&self.renewed)),
            ("etcd_debugging_server_lease_expired_total", "Leases run out.", count(&self.expired)),
        ] {
            super::push(text, name, "counter", help, &format!("{name} {value}\n"));
        }
        let name = "etcd_debugging_lease_ttl_total";
        let (mut lines, mut below) = (String::new(), 0);
        for (bound, counter) in self.seconds.iter().enumerate() {
            below += count(counter);
            let bound = match bound {
                BOUNDS => "+Inf".to_owned(),
                bound => (1_u64 << bound).to_string(),
            };
            lines.push_str(&format!("{name}_bucket{{le=\"{bound}\"}} {below}\n"));
        }
        lines.push_str(&format!("{name}_sum {}\n{name}_count {below}\n", count(&self.total)));
        super::push(text, name, "histogram", "Seconds of granted leases.", &lines);
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_counted_by_their_seconds() {
        let leases = Leases::default();
        for seconds in [1, 2, 3, 60, 9_000_000_000] {
            leases.grant(seconds);
        }
        let mut text = String::new();
        leases.write(&mut text);
        for line in [
            "etcd_debugging_lease_granted_total 5",
            "etcd_debugging_lease_ttl_total_bucket{le=\"1\"} 1",
            "etcd_debugging_lease_ttl_total_bucket{le=\"4\"} 3",
            "etcd_debugging_lease_ttl_total_bucket{le=\"64\"} 4",
            "etcd_debugging_lease_ttl_total_bucket{le=\"8388608\"} 4",
            "etcd_debugging_lease_ttl_total_bucket{le=\"+Inf\"} 5",
            "etcd_debugging_lease_ttl_total_sum 9000000066",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
