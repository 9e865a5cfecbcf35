//! Each kind of broken promise is found, and a kept one is not.

use super::*;
use crate::history::{Action, Outcome};

fn change(key: &str, value: Option<&str>) -> Change {
    let (key, value) = (key.to_owned(), value.map(str::to_owned));
    Change { key, value, lease: 0, create: 0, version: 0 }
}

/// k0=7 at 2, a pair at 3, a lease's keys at 4, gone at 5.
fn history() -> History {
    let leased = |value| vec![change("l0-1-0", value), change("l0-1-1", value)];
    History::from([
        (2, vec![change("k0", Some("7"))]),
        (3, vec![change("p0", Some("both")), change("p1", Some("both"))]),
        (4, leased(Some("leased"))),
        (5, leased(None)),
    ])
}

fn seen(history: History) -> Seen {
    let at = history.keys().map(|at| (*at, *at as u64 * 1_000_000_000)).collect();
    Seen { history, at, ..Seen::default() }
}

fn put(revision: i64, called: u64, returned: u64) -> Operation {
    let (action, outcome) = (Action::Put(7), Outcome::Written(revision));
    Operation { client: 0, key: 0, action, outcome, called, returned }
}

fn range(revision: i64, called: u64, serializable: bool) -> Snapshot {
    let keys = BTreeMap::from([("k0".to_owned(), (2, "7".to_owned()))]);
    Snapshot { revision, keys, serializable, called, returned: called + 1 }
}

#[test]
fn what_was_acknowledged_must_be_at_its_revision_and_once() {
    assert_eq!(acknowledged(&[put(2, 0, 1)], &history()), Vec::<String>::new());
    assert_eq!(acknowledged(&[put(4, 0, 1)], &history()).len(), 1);
    let mut twice = history();
    twice.insert(6, vec![change("k0", Some("7"))]);
    assert_eq!(acknowledged(&[], &twice).len(), 1);
}

#[test]
fn both_keys_of_a_pair_change_together() {
    let pair = |revision, value: &str| Pair {
        revision,
        value: Some(value.to_owned()),
        called: 0,
        returned: 1,
    };
    assert_eq!(pairs(&[pair(3, "both")], &history()), Vec::<String>::new());
    assert_eq!(pairs(&[pair(3, "other")], &history()).len(), 1);
    assert_eq!(pairs(&[pair(2, "both")], &history()).len(), 1);
    let mut half = history();
    half.insert(6, vec![change("p0", Some("half"))]);
    assert_eq!(pairs(&[], &half).len(), 1);
}

#[test]
fn a_range_shows_the_state_at_its_revision() {
    assert_eq!(snapshots(&[range(2, 0, false)], &history()), Vec::<String>::new());
    assert_eq!(snapshots(&[range(3, 0, false)], &history()).len(), 1);
}

#[test]
fn answers_bound_what_begins_after_them() {
    let told = |operations, snapshots| Told { operations, snapshots, ..Told::default() };
    let later = told(vec![put(2, 0, 1), put(3, 2, 3)], vec![range(3, 4, false)]);
    assert_eq!(real_time(&later), Vec::<String>::new());
    assert_eq!(real_time(&told(vec![put(3, 0, 1), put(2, 2, 3)], vec![])).len(), 1);
    assert_eq!(real_time(&told(vec![put(3, 0, 1), put(3, 2, 3)], vec![])).len(), 1);
    assert_eq!(real_time(&told(vec![put(3, 0, 1)], vec![range(2, 2, false)])).len(), 1);
    assert_eq!(real_time(&told(vec![put(3, 0, 1)], vec![range(2, 2, true)])).len(), 0);
    let ranges = vec![range(3, 0, false), range(2, 2, false)];
    assert_eq!(real_time(&told(vec![], ranges)).len(), 1);
}

#[test]
fn leases_end_in_time_and_as_a_whole() {
    let life = |kept: u64, gone| Life {
        keys: "l0-1-".to_owned(),
        kept: kept * 1_000_000_000,
        is_revoked: false,
        gone,
    };
    let lenient = Leniency::default();
    // Its end is seen in the fifth second.
    assert_eq!(lives(&[life(3, None)], &[seen(history())], lenient), Vec::<String>::new());
    assert_eq!(lives(&[life(4, None)], &[seen(history())], lenient).len(), 1);
    assert_eq!(
        lives(&[life(4, None)], &[seen(history())], Leniency { lease_percent: 50 }).len(),
        0
    );
    assert_eq!(
        lives(&[Life { is_revoked: true, ..life(4, None) }], &[seen(history())], lenient).len(),
        0
    );
    assert_eq!(lives(&[life(3, Some(4_000_000_000))], &[seen(history())], lenient).len(), 1);
    let mut halves = history();
    let other = halves.get_mut(&5).and_then(Vec::pop).expect("two changes");
    halves.insert(6, vec![other]);
    assert_eq!(lives(&[], &[seen(halves)], lenient).len(), 1);
}

#[test]
fn watchers_see_everything_once_and_as_members_remember_it() {
    assert_eq!(watches(&[seen(history())], &history(), -1), Vec::<String>::new());
    let mut less = history();
    less.remove(&4);
    let all = seen(history());
    assert_eq!(watches(&[all, seen(less.clone())], &history(), -1).len(), 1);
    assert_eq!(watches(&[seen(less.clone())], &history(), -1).len(), 1);
    // What was compacted before it came may be missing.
    let late = Seen { gaps: vec![(4, 4)], ..seen(less) };
    assert_eq!(watches(&[seen(history()), late], &history(), -1), Vec::<String>::new());
    let told = BTreeMap::from([((3, "p0".to_owned()), Some(2))]);
    let odd = Seen { before: told, ..seen(history()) };
    assert_eq!(watches(&[odd], &history(), -1).len(), 1);
}

#[test]
fn members_must_agree() {
    let hash = HashKvResponse { hash: 1, ..HashKvResponse::default() };
    let other = HashKvResponse { hash: 2, ..HashKvResponse::default() };
    let same = [history(), history()];
    assert_eq!(members(&[hash, hash], &same), Vec::<String>::new());
    assert_eq!(members(&[hash, other], &same).len(), 1);
    let mut less = history();
    less.remove(&5);
    assert_eq!(members(&[hash, hash], &[history(), less]).len(), 1);
}
