//! A lease lives at least as long as its last confirmed renewal promised, by the fastest clock of
//! any member, and ends when nobody renews it any more.

use crate::evidence::{Evidence, Lease};

/// Milliseconds that clocks of whole milliseconds may be wrong by.
const GRAIN: f64 = 3.0;

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for lease in &evidence.leases {
        let Some(gone) = lease.gone else { continue };
        if let Some(asked) = lease.confirmed.iter().find(|asked| is_early(evidence, lease, **asked))
        {
            broken.push(format!(
                "gone at {gone} ms, confirmed for what was asked at {asked}: {lease:?}"
            ));
        }
    }
    for end in &evidence.finals {
        let left = evidence.leases.iter().filter(|lease| end.leases.contains(&lease.id));
        broken
            .extend(left.map(|lease| format!("member {} has it for ever: {lease:?}", end.member)));
    }
    broken
}

/// Whether a lease ended before what was asked for at this time had run out.
fn is_early(evidence: &Evidence, lease: &Lease, asked: u64) -> bool {
    let as_float = |millis: u64| f64::from(u32::try_from(millis).unwrap_or(u32::MAX));
    let promised = as_float(asked) + as_float(lease.ttl) / evidence.fastest - GRAIN;
    lease.gone.is_some_and(|gone| as_float(gone) < promised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Final;

    #[test]
    fn a_lease_that_ends_early_or_never_breaks_it() {
        let lease = |confirmed: &[u64], gone| Lease {
            id: 4,
            key: "l".into(),
            ttl: 2000,
            confirmed: confirmed.to_vec(),
            gone,
        };
        let check = |lease, left: &[i64]| {
            let finals = vec![Final { leases: left.to_vec(), ..Final::default() }];
            let leases = vec![lease];
            broken(&Evidence { leases, finals, fastest: 1.25, ..Evidence::default() }).len()
        };
        assert_eq!(check(lease(&[100, 900], Some(2600)), &[]), 0);
        assert_eq!(check(lease(&[100, 900], Some(2400)), &[]), 1);
        // A renewal that was confirmed although it was over.
        assert_eq!(check(lease(&[100, 2700], Some(2600)), &[]), 1);
        assert_eq!(check(lease(&[100], None), &[4]), 1);
    }
}
