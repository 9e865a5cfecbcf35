//! Judges what clients, watchers and members said of one run. Every finding is a sentence.

use proto::etcdserverpb::HashKvResponse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::leases::{Life, TTL};
use super::ranges::{PAIR, Pair, Snapshot};
use super::watches::Seen;
use super::{Change, History, Leniency, Told};
use crate::history::{Operation, disorder, settled};
use crate::linearizable::{Verdict, check};
use crate::store::{MEMBERS, Members};
use crate::until_some;

/// How long the search for an order may take.
const SEARCH: Duration = Duration::from_secs(15);
/// The first revision that clients can make.
const FIRST: i64 = 2;
/// Findings of one kind that are told.
const TOLD: usize = 5;

/// All members' hashes at a revision, which each reaches in time.
pub(super) async fn hashes(members: &Members, last: i64) -> Vec<HashKvResponse> {
    let mut all = Vec::new();
    for at in 0..MEMBERS {
        all.push(until_some("a member has all revisions", || members.hash(at, last)).await);
    }
    all
}

/// Members agree.
pub(super) fn members(hashes: &[HashKvResponse], remembered: &[History]) -> Vec<String> {
    let mut wrong = Vec::new();
    let key = |one: &HashKvResponse| (one.hash, one.compact_revision, one.hash_revision);
    if hashes.iter().any(|one| key(one) != key(&hashes[0])) {
        let all: Vec<_> = hashes.iter().map(key).collect();
        wrong.push(format!("hash, compacted and revision differ: {all:?}"));
    }
    for (at, history) in remembered.iter().enumerate() {
        wrong.extend(differ(&format!("member {at}"), history, "member 0", &remembered[0]));
    }
    wrong
}

/// The first revision in which two histories differ.
fn differ(one: &str, history: &History, other: &str, wanted: &History) -> Option<String> {
    let all = history.keys().chain(wanted.keys());
    let at = all.filter(|at| history.get(at) != wanted.get(at)).min()?;
    let (is, should) = (history.get(at), wanted.get(at));
    Some(format!("at {at} {one} has {is:?}, {other} has {should:?}"))
}

/// Watchers saw everything, once and in order.
pub(super) fn watches(seen: &[Seen], remembered: &History, compacted: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    let full = &seen[0].history;
    if !seen[0].gaps.is_empty() {
        wrong.push(format!("the first watcher missed {:?}", seen[0].gaps));
    }
    let recent: History = full.range(compacted + 1..).map(|(at, c)| (*at, c.clone())).collect();
    wrong.extend(differ("the first watcher", &recent, "member 0", remembered));
    for (at, one) in seen.iter().enumerate() {
        wrong.extend(one.wrong.iter().take(TOLD).map(|text| format!("watcher {at}: {text}")));
        let in_gap = |at: i64| one.gaps.iter().any(|(from, to)| (*from..=*to).contains(&at));
        let wanted: History =
            full.iter().filter(|(at, _)| !in_gap(**at)).map(|(at, c)| (*at, c.clone())).collect();
        wrong.extend(differ(&format!("watcher {at}"), &one.history, "the first", &wanted));
        wrong.extend(previous(full, one, compacted).into_iter().take(TOLD));
    }
    wrong
}

/// What watchers were told of the values before.
fn previous(full: &History, one: &Seen, compacted: i64) -> Vec<String> {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (revision, changes) in full {
        for change in changes {
            let before = newest.get(&*change.key).copied();
            match one.before.get(&(*revision, change.key.clone())) {
                Some(told) if *told != before => {
                    // It may have been compacted when the event was told.
                    if told.is_some() || before.is_some_and(|before| before > compacted) {
                        let key = &change.key;
                        wrong.push(format!("{key} at {revision}: before {told:?}, not {before:?}"));
                    }
                }
                Some(_) | None => {}
            }
            match change.value {
                Some(_) => newest.insert(&change.key, *revision),
                None => newest.remove(&*change.key),
            };
        }
    }
    wrong
}

/// What clients were told, against the history that the first watcher saw.
pub(super) fn clients(told: Told, seen: &[Seen], leniency: Leniency) -> Vec<String> {
    let history = &seen[0].history;
    let mut wrong = Vec::new();
    if history.keys().next().is_some_and(|first| *first < FIRST) {
        wrong.push("history begins before the first change".to_owned());
    }
    wrong.extend(acknowledged(&told.operations, history).into_iter().take(TOLD));
    wrong.extend(pairs(&told.pairs, history).into_iter().take(TOLD));
    wrong.extend(snapshots(&told.snapshots, history).into_iter().take(TOLD));
    wrong.extend(real_time(&told).into_iter().take(TOLD));
    wrong.extend(lives(&told.lives, seen, leniency).into_iter().take(TOLD));
    let swapped = disorder(&told.operations);
    wrong.extend(swapped.iter().take(TOLD).map(|pair| format!("out of order: {pair:?}")));
    match check(&settled(&told.operations), SEARCH) {
        Verdict::Linearizable => {}
        other => wrong.push(format!("registers: {other:?}")),
    }
    wrong
}

/// Everything that was acknowledged is where it was said to be, and nothing happened twice.
fn acknowledged(operations: &[Operation], history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    for one in operations {
        let Some(revision) = one.outcome.revision() else { continue };
        let key = format!("k{}", one.key);
        let value = one.action.writes().map(|value| value.to_string());
        let there = history.get(&revision);
        let found = there.is_some_and(|changes| match &changes[..] {
            [change] => change.key == key && change.value == value,
            _ => false,
        });
        if !found {
            wrong.push(format!("lost: {one:?}; at its revision is {there:?}"));
        }
    }
    let mut values = BTreeMap::new();
    let registers = history.iter().flat_map(|(at, changes)| changes.iter().map(move |c| (at, c)));
    for (revision, change) in registers.filter(|(_, change)| change.key.starts_with('k')) {
        let Some(value) = &change.value else { continue };
        if let Some(before) = values.insert(value, revision) {
            wrong.push(format!("twice: {value} at {before} and {revision}"));
        }
    }
    wrong
}

/// Both keys of a pair changed at the revision that was told, and at every other one.
fn pairs(told: &[Pair], history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let pair = |changes: &[Change]| {
        let of_pair: Vec<&Change> =
            changes.iter().filter(|change| PAIR.contains(&&*change.key)).collect();
        match &of_pair[..] {
            [] => None,
            [one, other] if one.value == other.value => Some(Ok(one.value.clone())),
            _ => Some(Err(format!("half of a pair: {of_pair:?}"))),
        }
    };
    for (revision, changes) in history {
        if let Some(Err(text)) = pair(changes) {
            wrong.push(format!("at {revision} {text}"));
        }
    }
    for one in told {
        let there = history.get(&one.revision).and_then(|changes| pair(changes));
        if there != Some(Ok(one.value.clone())) {
            wrong.push(format!("lost: {one:?}; at its revision is {there:?}"));
        }
    }
    wrong
}

/// Every range shows the state at its revision.
fn snapshots(told: &[Snapshot], history: &History) -> Vec<String> {
    let mut sorted: Vec<&Snapshot> = told.iter().collect();
    sorted.sort_by_key(|one| one.revision);
    let mut state: BTreeMap<String, (i64, String)> = BTreeMap::new();
    let mut changes = history.iter().peekable();
    let mut wrong = Vec::new();
    for one in sorted {
        while let Some((revision, group)) = changes.next_if(|(at, _)| **at <= one.revision) {
            for change in group {
                match &change.value {
                    Some(value) => {
                        state.insert(change.key.clone(), (*revision, value.clone()));
                    }
                    None => drop(state.remove(&change.key)),
                }
            }
        }
        if one.keys != state {
            let at = one.revision;
            wrong.push(format!("a range at {at} showed {:?}, not {state:?}", one.keys));
        }
    }
    wrong
}

/// An answer that bounds what comes after it.
struct Bound {
    revision: i64,
    called: u64,
    returned: u64,
    /// Whether it made the revision, and did not only see it.
    makes: bool,
}

/// What began after an answer sees at least its revision, and makes higher ones. Reads of what one
/// member has bound nobody.
fn real_time(told: &Told) -> Vec<String> {
    let operations = told.operations.iter().filter_map(|one| {
        let Operation { called, returned, .. } = *one;
        Some(Bound { revision: one.outcome.revision()?, called, returned, makes: true })
    });
    let pairs = told.pairs.iter().map(|one| {
        let Pair { revision, called, returned, .. } = *one;
        Bound { revision, called, returned, makes: true }
    });
    let ranges = told.snapshots.iter().filter(|one| !one.serializable).map(|one| {
        let Snapshot { revision, called, returned, .. } = *one;
        Bound { revision, called, returned, makes: false }
    });
    let mut by_call: Vec<Bound> = operations.chain(pairs).chain(ranges).collect();
    by_call.sort_by_key(|one| one.called);
    let mut returns: Vec<(u64, i64)> =
        by_call.iter().map(|one| (one.returned, one.revision)).collect();
    returns.sort_unstable();
    let mut answered = returns.into_iter().peekable();
    let mut highest = 0;
    let mut wrong = Vec::new();
    for one in by_call {
        while let Some((_, revision)) = answered.next_if(|(at, _)| *at < one.called) {
            highest = highest.max(revision);
        }
        if one.revision < highest || (one.makes && one.revision == highest) {
            let verb = if one.makes { "made" } else { "saw" };
            wrong.push(format!("{verb} {} though {highest} had been answered", one.revision));
        }
    }
    wrong
}

/// Leases did not end before their time, nor by halves.
fn lives(lives: &[Life], seen: &[Seen], leniency: Leniency) -> Vec<String> {
    let history = &seen[0].history;
    let mut ends: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (revision, changes) in history {
        for change in changes.iter().filter(|c| c.key.starts_with('l') && c.value.is_none()) {
            let keys = change.key.trim_end_matches(|last: char| last != '-');
            let end = ends.entry(keys).or_insert((*revision, 0));
            end.1 += usize::from(end.0 == *revision);
        }
    }
    let time = u64::try_from(TTL).unwrap_or(0) * 10_000_000 * leniency.lease_percent;
    for life in lives.iter().filter(|life| !life.is_revoked) {
        let due = life.kept + time;
        if life.gone.is_some_and(|gone| gone < due) {
            wrong.push(format!("said to be gone before its time: {life:?}"));
        }
        let Some((revision, _)) = ends.get(&*life.keys) else { continue };
        let first = seen.iter().filter_map(|one| one.at.get(revision)).min();
        if first.is_some_and(|at| *at < due) {
            wrong
                .push(format!("ended at {revision}, seen at {first:?}, before its time: {life:?}"));
        }
    }
    for (keys, (revision, count)) in ends.iter().filter(|(_, (_, count))| *count != 2) {
        wrong.push(format!("{count} of the keys {keys} of a lease went at {revision}"));
    }
    wrong
}

#[cfg(test)]
mod tests;
