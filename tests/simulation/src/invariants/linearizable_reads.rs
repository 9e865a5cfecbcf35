//! Everything that clients were told of a key fits one order of events, each between its call and
//! its answer; and whoever reads two keys that are written together sees them together.

use std::time::Duration;

use harness::{
    history::settled,
    linearizable::{Verdict, check},
};

use crate::evidence::Evidence;

/// How long the search for an order may take. It is real time: a search that takes longer says
/// nothing, which is reported as well.
const SEARCH: Duration = Duration::from_secs(60);

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    match check(&settled(&evidence.operations), SEARCH) {
        Verdict::Linearizable => {}
        Verdict::Violation(why) => broken.push(why),
        Verdict::Unknown => broken.push("the search for an order was too long".to_owned()),
    }
    let torn = evidence.pairs.iter().filter(|pair| pair.one != pair.other);
    broken.extend(torn.map(|pair| format!("half a transaction was read: {pair:?}")));
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Pair;
    use harness::history::{Action, Operation, Outcome, Seen};

    #[test]
    fn an_old_value_after_a_newer_one_breaks_it() {
        let put = |value, called| Operation {
            client: 0,
            key: 0,
            action: Action::Put(value),
            outcome: Outcome::Written(i64::try_from(value).unwrap()),
            called,
            returned: called + 1,
        };
        let get = |value, called| Operation {
            action: Action::Get,
            outcome: Outcome::Read(Some(Seen { value, revision: i64::try_from(value).unwrap() })),
            ..put(value, called)
        };
        let check = |operations| broken(&Evidence { operations, ..Evidence::default() }).len();
        assert_eq!(check(vec![put(2, 1), put(3, 4), get(3, 6)]), 0);
        assert_eq!(check(vec![put(2, 1), put(3, 4), get(2, 6)]), 1);
    }

    #[test]
    fn half_a_transaction_breaks_it() {
        let pair = |one, other| Pair { member: 0, one, other };
        let pairs = vec![pair(None, None), pair(Some(1), Some(1)), pair(Some(2), Some(1))];
        assert_eq!(broken(&Evidence { pairs, ..Evidence::default() }).len(), 1);
    }
}
