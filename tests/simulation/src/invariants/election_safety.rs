//! At most one member leads a term: whoever says who leads it says the same.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, Leader};

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut known: BTreeMap<u64, Leader> = BTreeMap::new();
    let mut broken = Vec::new();
    for seen in &evidence.leaders {
        let first = known.entry(seen.term).or_insert(*seen);
        if first.leader != seen.leader {
            broken.push(format!("two leaders: {first:x?} and {seen:x?}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_break_it() {
        let seen = |witness, term, leader| Leader { at: 1, witness, term, leader };
        let leaders = vec![seen(0, 1, 7), seen(1, 1, 7), seen(1, 2, 8)];
        let mut evidence = Evidence { leaders, ..Evidence::default() };
        assert!(broken(&evidence).is_empty());
        evidence.leaders.push(seen(2, 2, 7));
        assert_eq!(broken(&evidence).len(), 1);
    }
}
