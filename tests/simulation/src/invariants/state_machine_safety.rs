//! All members apply the same entries at the same places, and end up with the same state.

use std::collections::BTreeMap;

use crate::evidence::{Committed, Digest, Evidence};

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let mut entries: BTreeMap<u64, Committed> = BTreeMap::new();
    for seen in &evidence.committed {
        let first = entries.entry(seen.index).or_insert(*seen);
        if first.term != seen.term {
            broken.push(format!("different entries committed: {first:?} and {seen:?}"));
        }
    }
    let mut digests: BTreeMap<u64, Digest> = BTreeMap::new();
    for seen in &evidence.digests {
        let first = digests.entry(seen.index).or_insert(*seen);
        if first.digest != seen.digest {
            broken.push(format!("different states: {first:x?} and {seen:x?}"));
        }
    }
    for pair in evidence.finals.windows(2) {
        let (one, other) = (&pair[0], &pair[1]);
        if one.keys != other.keys || one.revision != other.revision {
            broken.push(format!("different states in the end: {one:?} and {other:?}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Final;

    #[test]
    fn different_entries_and_states_break_it() {
        let committed = |member, term| Committed { at: 1, member, index: 3, term };
        let digest = |member, digest| Digest { member, index: 3, digest };
        let held = |member, value: &str| Final {
            member,
            revision: 4,
            keys: vec![("k".into(), value.into(), 4)],
            ..Final::default()
        };
        let good = Evidence {
            committed: vec![committed(0, 1), committed(1, 1)],
            digests: vec![digest(0, 5), digest(1, 5)],
            finals: vec![held(0, "a"), held(1, "a")],
            ..Evidence::default()
        };
        assert!(broken(&good).is_empty());
        let mut bad = good.clone();
        bad.committed.push(committed(2, 2));
        assert_eq!(broken(&bad).len(), 1);
        let mut bad = good.clone();
        bad.digests.push(digest(2, 6));
        assert_eq!(broken(&bad).len(), 1);
        let mut bad = good;
        bad.finals.push(held(2, "b"));
        assert_eq!(broken(&bad).len(), 1);
    }
}
