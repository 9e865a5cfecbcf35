//! Histories that are linearizable and histories that are not; and every order tried on small ones.

use super::*;
use crate::history::{Action, Seen, disorder, settled};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const PATIENCE: Duration = Duration::from_secs(30);

/// An operation on register 0; each on a client of its own.
fn operation(called: u64, returned: u64, action: Action, outcome: Outcome) -> Operation {
    Operation { client: 0, key: 0, action, outcome, called, returned }
}

fn put(called: u64, returned: u64, value: u64, revision: i64) -> Operation {
    operation(called, returned, Action::Put(value), Outcome::Written(revision))
}

fn lost_put(called: u64, value: u64) -> Operation {
    operation(called, 0, Action::Put(value), Outcome::Unknown)
}

fn get(called: u64, returned: u64, seen: Option<(u64, i64)>) -> Operation {
    operation(called, returned, Action::Get, Outcome::Read(seen.map(of)))
}

fn of((value, revision): (u64, i64)) -> Seen {
    Seen { value, revision }
}

/// Whether there is an order; settling must not change that.
fn holds(operations: &[Operation]) -> bool {
    let verdict = check(operations, PATIENCE);
    assert_ne!(verdict, Verdict::Unknown);
    let holds = verdict == Verdict::Linearizable;
    let other = check(&settled(operations), PATIENCE) == Verdict::Linearizable;
    assert_eq!(other, holds, "settled: {operations:?}");
    holds
}

#[test]
fn reads_see_the_last_write_or_one_beside_them() {
    assert!(holds(&[]));
    assert!(holds(&[get(0, 1, None), put(2, 3, 7, 2), get(4, 5, Some((7, 2)))]));
    let beside = |seen| holds(&[put(0, 1, 1, 2), put(2, 9, 2, 3), get(3, 4, Some(seen))]);
    assert!(beside((1, 2)));
    assert!(beside((2, 3)));
}

#[test]
fn a_stale_read_fits_no_order() {
    assert!(!holds(&[put(0, 1, 1, 2), put(2, 3, 2, 3), get(4, 5, Some((1, 2)))]));
    assert!(!holds(&[put(0, 1, 1, 2), get(2, 3, None)]));
    // Two readers beside a write: once one has seen it, a later one does too.
    let write = put(0, 9, 1, 2);
    assert!(holds(&[write, get(1, 2, None), get(3, 4, Some((1, 2)))]));
    assert!(!holds(&[write, get(1, 2, Some((1, 2))), get(3, 4, None)]));
}

#[test]
fn a_lost_write_fits_no_order() {
    let after = |seen| holds(&[put(0, 1, 1, 2), put(2, 3, 2, 3), put(2, 3, 3, 4), get(4, 5, seen)]);
    assert!(after(Some((3, 4))));
    assert!(!after(Some((2, 3))), "the revisions say who was last");
    assert!(!after(None));
}

#[test]
fn one_condition_holds_for_one_swap() {
    let swap = |called, new, revision| {
        let action = Action::SwapValue { expected: 1, new };
        operation(called, called + 1, action, Outcome::Written(revision))
    };
    assert!(holds(&[put(0, 1, 1, 2), swap(2, 2, 3), get(4, 5, Some((2, 3)))]));
    assert!(!holds(&[put(0, 1, 1, 2), swap(2, 2, 3), swap(2, 3, 4)]), "a double effect");
    let create = |new, revision| {
        let action = Action::SwapRevision { expected: 0, new };
        operation(0, 9, action, Outcome::Written(revision))
    };
    assert!(holds(&[create(1, 2)]));
    assert!(!holds(&[create(1, 2), create(2, 3)]));
}

#[test]
fn a_refused_swap_tells_why() {
    let refused = |expected, seen: Option<(u64, i64)>| {
        let action = Action::SwapRevision { expected, new: 9 };
        let swap = operation(2, 3, action, Outcome::Refused(seen.map(of)));
        holds(&[put(0, 1, 1, 2), swap])
    };
    assert!(refused(5, Some((1, 2))));
    assert!(refused(0, Some((1, 2))));
    assert!(!refused(2, Some((1, 2))), "it should have been done");
    assert!(!refused(5, None), "something was there");
}

#[test]
fn a_deletion_takes_what_is_there_once() {
    let gone = Outcome::Deleted { old: of((1, 2)), revision: 3 };
    let delete = |called, outcome| operation(called, called + 1, Action::Delete, outcome);
    let (first, nothing) = (delete(2, gone), delete(4, Outcome::Nothing));
    assert!(holds(&[put(0, 1, 1, 2), first, nothing, get(6, 7, None)]));
    assert!(!holds(&[put(0, 1, 1, 2), nothing]));
    assert!(!holds(&[put(0, 1, 1, 2), first, delete(4, gone)]));
    assert!(!holds(&[put(0, 1, 1, 2), first, get(4, 5, Some((1, 2)))]));
    // One without an answer explains an absence, and also that there is none.
    let lost = operation(2, 0, Action::Delete, Outcome::Unknown);
    assert!(holds(&[put(0, 1, 1, 2), lost, get(3, 4, None)]));
    assert!(holds(&[put(0, 1, 1, 2), lost, get(3, 4, Some((1, 2)))]));
    assert!(holds(&[put(0, 1, 1, 2), lost, get(3, 4, Some((1, 2))), get(5, 6, None)]));
    assert!(!holds(&[put(0, 1, 1, 2), lost, get(3, 4, None), get(5, 6, Some((1, 2)))]));
}

#[test]
fn a_write_without_an_answer_happened_late_or_never_but_once() {
    let lost = lost_put(0, 1);
    let see = |at, seen| get(at, at + 1, seen);
    assert!(holds(&[lost, see(2, None)]), "it did not happen");
    assert!(holds(&[lost, see(2, Some((1, 2)))]), "it did");
    assert!(holds(&[lost, see(2, None), see(4, Some((1, 2)))]), "it did later");
    assert!(!holds(&[lost, see(2, Some((1, 2))), see(4, None)]), "it cannot be undone");
    let other = put(4, 5, 2, 3);
    assert!(holds(&[lost, see(2, None), other, see(6, Some((1, 4)))]), "after another one");
    let twice = [lost, see(2, Some((1, 2))), other, see(6, Some((1, 4)))];
    assert!(!holds(&twice), "it happened twice");
    assert!(!holds(&[see(2, Some((1, 2))), lost_put(4, 1)]), "nobody sees what comes later");
}

#[test]
fn a_write_has_one_revision_and_they_grow() {
    assert!(!holds(&[put(0, 1, 1, 2), get(2, 3, Some((1, 3)))]));
    assert!(!holds(&[put(0, 1, 1, 5), put(2, 3, 2, 4)]));
    assert!(!holds(&[lost_put(0, 1), get(2, 3, Some((1, 2))), get(2, 3, Some((1, 3)))]));
}

#[test]
fn each_register_has_an_order_of_its_own() {
    let elsewhere = |one: Operation| Operation { key: 1, ..one };
    let good = [put(0, 1, 1, 2), elsewhere(get(2, 3, None))];
    assert!(holds(&good));
    assert!(!holds(&[good[0], good[1], elsewhere(get(4, 5, Some((1, 2))))]));
}

#[test]
fn a_violation_says_which_operation_is_not_explained() {
    let history = [put(0, 1, 1, 2), put(2, 3, 2, 3), get(4, 5, Some((1, 2)))];
    let Verdict::Violation(text) = check(&history, PATIENCE) else { panic!("a stale read") };
    assert!(text.starts_with("after 2 of 3 operations"), "{text}");
    assert!(text.contains("Read(Some(Seen { value: 1, revision: 2 }))"), "{text}");
}

#[test]
fn a_search_without_time_is_no_success() {
    // The same value by many writers, so that nothing can be settled: 2^30 sets to try.
    let mut history: Vec<Operation> = (0..30).map(|at| lost_put(at, at / 2)).collect();
    history.push(get(100, 101, Some((77, 2))));
    assert_eq!(check(&settled(&history), Duration::ZERO), Verdict::Unknown);
}

/// Whether any order explains the operations, tried one by one.
fn any_order(register: Register, left: &[Operation]) -> bool {
    if left.iter().all(|one| one.outcome == Outcome::Unknown) {
        return true;
    }
    (0..left.len()).any(|at| {
        let one = left[at];
        let too_late = left
            .iter()
            .any(|other| other.outcome != Outcome::Unknown && other.returned < one.called);
        let mut rest = left.to_vec();
        rest.remove(at);
        !too_late && register.after(&one).is_some_and(|next| any_order(next, &rest))
    })
}

/// A history of a register that really ran, then perhaps with one answer spoiled.
fn random_history(random: &mut StdRng) -> Vec<Operation> {
    let count: u64 = random.random_range(2..7);
    let mut moments: Vec<(u64, u64)> =
        (0..count).map(|at| (at * 10 + 5, random.random_range(0..30))).collect();
    let mut now: Option<Seen> = None;
    let mut revision = 1;
    let mut history = Vec::new();
    for (value, (moment, width)) in (1..).zip(moments.drain(..)) {
        let action = match random.random_range(0..6) {
            0 | 1 => Action::Get,
            2 => Action::Put(value),
            3 => Action::Delete,
            4 if now.is_some() => {
                Action::SwapValue { expected: now.map_or(0, |seen| seen.value), new: value }
            }
            _ => Action::SwapRevision { expected: now.map_or(0, |seen| seen.revision), new: value },
        };
        let happens = random.random_bool(0.8);
        let outcome = match (action, now) {
            (Action::Get, _) => Outcome::Read(now),
            (Action::Delete, None) => Outcome::Nothing,
            _ if !happens => Outcome::Unknown,
            (Action::Delete, Some(old)) => {
                revision += 1;
                now = None;
                Outcome::Deleted { old, revision }
            }
            _ => {
                revision += 1;
                now = Some(of((value, revision)));
                Outcome::Written(revision)
            }
        };
        let outcome = if random.random_bool(0.25) { Outcome::Unknown } else { outcome };
        let called = moment.saturating_sub(random.random_range(0..30));
        history.push(operation(called, moment + width, action, outcome));
    }
    if random.random_bool(0.9) {
        let at = random.random_range(0..history.len());
        let seen = now.map(|seen| Seen { value: seen.value.saturating_sub(1), ..seen });
        if history[at].action == Action::Get {
            history[at].outcome = Outcome::Read(seen.filter(|_| random.random_bool(0.5)));
        } else {
            history[at].returned = history[at].called;
        }
    }
    history
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut random = StdRng::seed_from_u64(4);
    let mut counts = [0, 0];
    for _ in 0..4000 {
        let history = random_history(&mut random);
        let expected = any_order(Register::default(), &history);
        assert_eq!(holds(&history), expected, "{history:?}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 300), "both kinds: {counts:?}");
}

#[test]
fn revisions_grow_along_real_time_across_registers() {
    let elsewhere = |one: Operation| Operation { key: 1, ..one };
    let (first, second) = (put(0, 5, 1, 3), elsewhere(put(3, 8, 2, 2)));
    assert_eq!(disorder(&[first, second]), vec![], "they overlap");
    let later = elsewhere(put(6, 8, 2, 2));
    assert_eq!(disorder(&[first, later]), vec![(first, later)]);
    let same = elsewhere(put(3, 8, 2, 3));
    assert_eq!(disorder(&[first, same]), vec![(first, same)]);
}
