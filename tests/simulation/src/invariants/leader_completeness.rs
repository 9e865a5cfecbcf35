//! What was committed in a term is in the logs of all leaders of later terms.

use crate::evidence::{Committed, Evidence, Office};

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let decided = evidence.decided();
    let mut broken = Vec::new();
    for office in &evidence.offices {
        let lacks =
            |one: &&Committed| one.term < office.term && one.at <= office.at && !has(office, one);
        if let Some(one) = decided.values().find(lacks) {
            let Office { at, leader, term, first, terms } = office;
            let last = first + terms.len() as u64;
            broken.push(format!(
                "at {at} ms {leader:x} led term {term} with entries [{first}, {last}) and without \
                 {one:?}"
            ));
        }
    }
    broken
}

/// Whether a log holds an entry, or has been compacted past it.
fn has(office: &Office, one: &Committed) -> bool {
    if one.index < office.first || office.terms.is_empty() {
        return true;
    }
    let place = usize::try_from(one.index - office.first).unwrap_or(usize::MAX);
    office.terms.get(place) == Some(&one.term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_committed_entry_breaks_it() {
        let committed = |index, term| Committed { at: 10, member: 0, index, term };
        let office = |at, first, terms: &[u64]| Office {
            at,
            leader: 7,
            term: 3,
            first,
            terms: terms.to_vec(),
        };
        let check = |office| {
            let committed = vec![committed(5, 1), committed(6, 2)];
            broken(&Evidence { committed, offices: vec![office], ..Evidence::default() }).len()
        };
        assert_eq!(check(office(20, 5, &[1, 2, 3])), 0);
        assert_eq!(check(office(20, 6, &[2, 3])), 0);
        assert_eq!(check(office(20, 5, &[1])), 1);
        assert_eq!(check(office(20, 5, &[1, 1, 3])), 1);
        // It was not known to be committed yet.
        assert_eq!(check(office(9, 5, &[1])), 0);
    }
}
