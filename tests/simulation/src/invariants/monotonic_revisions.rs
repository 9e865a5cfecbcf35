//! Revisions only grow: no two changes share one, a change that began after another was answered
//! has a higher one, and so has every linearizable answer at least the revision of those before.

use harness::history::disorder;

use crate::evidence::{Evidence, Header};

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut broken: Vec<String> = disorder(&evidence.operations)
        .into_iter()
        .map(|(one, other)| format!("revisions out of order: {one:?} and {other:?}"))
        .collect();
    let mut by_call: Vec<&Header> = evidence.headers.iter().collect();
    by_call.sort_by_key(|header| header.called);
    let mut by_return = by_call.clone();
    by_return.sort_by_key(|header| header.returned);
    let mut answered = by_return.into_iter().peekable();
    let mut highest: Option<&Header> = None;
    for header in by_call {
        while let Some(before) = answered.next_if(|before| before.returned < header.called) {
            highest = highest.into_iter().chain([before]).max_by_key(|one| one.revision);
        }
        if let Some(before) = highest.filter(|before| before.revision > header.revision) {
            broken.push(format!("the store went back: {before:?}, then {header:?}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::history::{Action, Operation, Outcome};

    #[test]
    fn a_revision_that_goes_back_breaks_it() {
        let header = |called, returned, revision| Header { member: 0, called, returned, revision };
        let check = |headers| broken(&Evidence { headers, ..Evidence::default() }).len();
        assert_eq!(check(vec![header(1, 4, 9), header(2, 5, 8), header(6, 7, 9)]), 0);
        assert_eq!(check(vec![header(1, 2, 9), header(3, 4, 8)]), 1);
    }

    #[test]
    fn a_revision_that_two_changes_share_breaks_it() {
        let put = |called, revision| Operation {
            client: 0,
            key: 0,
            action: Action::Put(called),
            outcome: Outcome::Written(revision),
            called,
            returned: called + 1,
        };
        let check = |operations| broken(&Evidence { operations, ..Evidence::default() }).len();
        assert_eq!(check(vec![put(1, 5), put(3, 6)]), 0);
        assert!(check(vec![put(1, 5), put(3, 5)]) > 0);
        assert!(check(vec![put(1, 6), put(3, 5)]) > 0);
    }
}
