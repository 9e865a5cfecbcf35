//! An entry of one place and term is the same in all logs, and so is the entry before it: by
//! induction, logs that agree on one entry agree on everything before.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, Stored};

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut known: BTreeMap<(u64, u64), &Stored> = BTreeMap::new();
    let mut broken = Vec::new();
    for seen in &evidence.stored {
        let first = known.entry((seen.index, seen.term)).or_insert(seen);
        if first.hash != seen.hash {
            broken.push(format!("entries differ: {first:?} and {seen:?}"));
        }
        match (first.before, seen.before) {
            (Some(one), Some(other)) if one != other => {
                broken.push(format!("entries follow different ones: {first:?} and {seen:?}"));
            }
            (None, Some(_)) => *first = seen,
            _ => {}
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_entries_and_different_predecessors_break_it() {
        let entry =
            |member, before, hash| Stored { member, index: 4, term: 2, before, hash, config: None };
        let check = |stored| broken(&Evidence { stored, ..Evidence::default() }).len();
        assert_eq!(check(vec![entry(0, None, 9), entry(1, Some(1), 9), entry(2, Some(1), 9)]), 0);
        assert_eq!(check(vec![entry(0, Some(1), 9), entry(1, Some(1), 8)]), 1);
        assert_eq!(check(vec![entry(0, None, 9), entry(1, Some(1), 9), entry(2, Some(2), 9)]), 1);
    }
}
