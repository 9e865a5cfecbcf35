//! Members change so that no two majorities miss each other; what was acknowledged stays; who was
//! removed takes no office; all agree in the end.

use std::collections::{BTreeMap, BTreeSet};

use proto::peer::Membership;

use crate::evidence::Evidence;

type Voters = Vec<BTreeSet<u64>>;

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let configs = configs(evidence);
    for pair in configs.windows(2) {
        let (one, other) = (&pair[0], &pair[1]);
        if !overlap(&voters(one.1), &voters(other.1)) {
            broken.push(format!("majorities that can miss each other: {one:x?}, then {other:x?}"));
        }
    }
    for removed in evidence.changes.iter().filter(|change| !change.adds) {
        let Some(done) = removed.done else { continue };
        let late = evidence.offices.iter().find(|o| o.leader == removed.id && o.at > done);
        broken.extend(late.map(|office| {
            format!("{:x}, removed at {done} ms, leads term {}", removed.id, office.term)
        }));
    }
    broken.extend(ends(evidence));
    broken
}

/// The committed memberships, in order.
fn configs(evidence: &Evidence) -> Vec<(u64, &Membership)> {
    let decided = evidence.decided();
    let mut configs: BTreeMap<u64, &Membership> = BTreeMap::new();
    for stored in &evidence.stored {
        let is_decided = decided.get(&stored.index).is_some_and(|one| one.term == stored.term);
        if let Some(config) = stored.config.as_ref().filter(|_| is_decided) {
            configs.insert(stored.index, config);
        }
    }
    configs.into_iter().collect()
}

fn voters(config: &Membership) -> Voters {
    config.configs.iter().map(|voters| voters.ids.iter().copied().collect()).collect()
}

/// Whether every majority of one meets every majority of the other: they have a set of voters in
/// common, or two that differ by one voter.
fn overlap(one: &Voters, other: &Voters) -> bool {
    let near = |a: &BTreeSet<u64>, b: &BTreeSet<u64>| a.symmetric_difference(b).count() <= 1;
    one.iter().any(|a| other.iter().any(|b| near(a, b)))
}

/// What is wrong with the members in the end.
fn ends(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for end in &evidence.finals {
        for change in evidence.changes.iter().filter(|change| change.done.is_some()) {
            let undone = |other: &&crate::evidence::Change| {
                other.id == change.id && other.adds != change.adds
            };
            let may_be_undone = change.adds && evidence.changes.iter().any(|c| undone(&c));
            if !may_be_undone && end.members.contains(&change.id) != change.adds {
                broken.push(format!("member {} does not know of {change:x?}", end.member));
            }
        }
        if evidence.finals.first().is_some_and(|first| first.members != end.members) {
            broken.push(format!("members differ: {end:x?}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Change, Committed, Final, Office, Stored};
    use proto::peer::Voters as Ids;

    fn config(sets: &[&[u64]]) -> Membership {
        let configs = sets.iter().map(|ids| Ids { ids: ids.to_vec() }).collect();
        Membership { configs, members: Vec::new() }
    }

    fn changed(configs: &[Membership]) -> Evidence {
        let stored = |(at, config): (usize, &Membership)| Stored {
            member: 0,
            index: at as u64,
            term: 1,
            before: None,
            hash: 0,
            config: Some(config.clone()),
        };
        let committed = |at: usize| Committed { at: 0, member: 0, index: at as u64, term: 1 };
        Evidence {
            stored: configs.iter().enumerate().map(stored).collect(),
            committed: (0..configs.len()).map(committed).collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn members_change_one_at_a_time_or_jointly() {
        let check = |configs: &[Membership]| broken(&changed(configs)).len();
        assert_eq!(check(&[config(&[&[1, 2, 3]]), config(&[&[1, 2, 3, 4]])]), 0);
        let joint = config(&[&[1, 2, 3], &[3, 4, 5]]);
        assert_eq!(check(&[config(&[&[1, 2, 3]]), joint, config(&[&[3, 4, 5]])]), 0);
        assert_eq!(check(&[config(&[&[1, 2, 3]]), config(&[&[1, 4, 5]])]), 1);
    }

    #[test]
    fn what_was_acknowledged_stays_and_the_removed_do_not_lead() {
        let change = |id, adds, done| Change { id, adds, done };
        let held = |members: &[u64]| Final {
            members: members.iter().copied().collect(),
            ..Final::default()
        };
        let check = |changes: &[Change], finals: &[Final], at| {
            let office = Office { at, leader: 3, term: 9, first: 0, terms: Vec::new() };
            let (changes, finals) = (changes.to_vec(), finals.to_vec());
            broken(&Evidence { changes, finals, offices: vec![office], ..Evidence::default() })
                .len()
        };
        let removed = change(3, false, Some(10));
        assert_eq!(check(&[removed], &[held(&[1, 2])], 5), 0);
        assert_eq!(check(&[removed], &[held(&[1, 2])], 15), 1);
        assert_eq!(check(&[removed], &[held(&[1, 2, 3])], 5), 1);
        assert_eq!(check(&[change(4, true, Some(1))], &[held(&[1, 2])], 5), 1);
        assert_eq!(check(&[change(4, true, None)], &[held(&[1, 2])], 5), 0);
        assert_eq!(check(&[], &[held(&[1, 2]), held(&[1])], 5), 1);
    }
}
