//! A watch tells every change of its keys once, in the order of revisions, without a gap, also
//! when it goes on at another member; and all watches tell the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Event, Evidence, Segment, Watch};

/// All changes that anybody knows of: what became of a key at a revision.
type Truth = BTreeMap<(i64, String), Option<String>>;

pub(super) fn broken(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let truth = truth(evidence, &mut broken);
    for watch in &evidence.watches {
        for segment in &watch.segments {
            in_order(segment, &mut broken);
            complete(watch, segment, &truth, &mut broken);
        }
        for pair in watch.segments.windows(2) {
            let reached = pair[0].batches.last().map_or(pair[0].start, |batch| batch.upto + 1);
            let next = pair[0].compacted.unwrap_or(reached);
            if pair[1].start != next {
                broken.push(format!("a watch went on at {} instead of {next}", pair[1].start));
            }
        }
    }
    broken
}

fn truth(evidence: &Evidence, broken: &mut Vec<String>) -> Truth {
    let mut truth = Truth::new();
    let mut learn = |revision, key: &str, value: Option<String>| {
        let known = truth.entry((revision, key.to_owned())).or_insert_with(|| value.clone());
        if *known != value {
            broken.push(format!("{key} at revision {revision} is both {known:?} and {value:?}"));
        }
    };
    for operation in &evidence.operations {
        let Some(revision) = operation.outcome.revision() else { continue };
        let value = operation.action.writes().map(|value| value.to_string());
        learn(revision, &format!("k{}", operation.key), value);
    }
    for end in &evidence.finals {
        for (key, value, revision) in &end.keys {
            learn(*revision, key, Some(value.clone()));
        }
    }
    let segments = evidence.watches.iter().flat_map(|watch| &watch.segments);
    for event in segments.flat_map(|segment| &segment.batches).flat_map(|batch| &batch.events) {
        learn(event.revision, &event.key, event.value.clone());
    }
    truth
}

fn in_order(segment: &Segment, broken: &mut Vec<String>) {
    let mut upto = segment.start - 1;
    for batch in &segment.batches {
        let mut keys = BTreeSet::new();
        let mut last = upto;
        for Event { revision, key, .. } in &batch.events {
            if *revision < last || *revision <= upto || *revision > batch.upto {
                broken.push(format!(
                    "revision {revision} after {last}, in a batch of ({upto}, {}], at member {}",
                    batch.upto, segment.member
                ));
            }
            if !keys.insert((*revision, key)) {
                broken.push(format!("{key} at revision {revision} was told twice"));
            }
            last = *revision;
        }
        upto = batch.upto.max(upto);
    }
}

/// Whether everything was told that happened between the beginning and the last batch.
fn complete(watch: &Watch, segment: &Segment, truth: &Truth, broken: &mut Vec<String>) {
    let Some(last) = segment.batches.last() else { return };
    let told: BTreeSet<(i64, &str)> = segment
        .batches
        .iter()
        .flat_map(|batch| &batch.events)
        .map(|event| (event.revision, event.key.as_str()))
        .collect();
    let range = (segment.start, String::new())..(last.upto + 1, String::new());
    for (revision, key) in truth.range(range).map(|(place, _)| place) {
        if key.starts_with(&watch.prefix) && !told.contains(&(*revision, key.as_str())) {
            broken.push(format!(
                "{key} at revision {revision} is missing at member {}, in ({}, {}]",
                segment.member, segment.start, last.upto
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Batch;

    fn event(revision: i64, key: &str) -> Event {
        Event { revision, key: key.to_owned(), value: Some(format!("{key}{revision}")) }
    }

    fn watch(start: i64, batches: &[(i64, &[Event])]) -> Watch {
        let batches =
            batches.iter().map(|(upto, events)| Batch { upto: *upto, events: events.to_vec() });
        let segment = Segment { start, batches: batches.collect(), ..Segment::default() };
        Watch { prefix: String::new(), segments: vec![segment] }
    }

    fn check(watches: Vec<Watch>) -> usize {
        broken(&Evidence { watches, ..Evidence::default() }).len()
    }

    #[test]
    fn gaps_reorder_and_doubles_break_it() {
        let (a, b, c) = (event(2, "a"), event(3, "b"), event(4, "c"));
        let all = watch(1, &[(2, std::slice::from_ref(&a)), (4, &[b.clone(), c.clone()])]);
        assert_eq!(check(vec![all.clone(), all.clone()]), 0);
        let gap = watch(1, &[(2, std::slice::from_ref(&a)), (4, std::slice::from_ref(&c))]);
        assert_eq!(check(vec![all.clone(), gap]), 1);
        let reordered = watch(1, &[(4, &[b.clone(), a.clone(), c.clone()])]);
        assert_eq!(check(vec![all.clone(), reordered]), 1);
        let double = watch(1, &[(4, &[a.clone(), b.clone(), b.clone(), c.clone()])]);
        assert_eq!(check(vec![all.clone(), double]), 1);
        let late = watch(1, &[(3, &[a, b.clone()]), (4, &[b, c])]);
        assert_eq!(check(vec![all, late]), 1);
    }

    #[test]
    fn watches_that_tell_different_things_break_it() {
        let other = Event { value: None, ..event(2, "a") };
        let watches = vec![watch(1, &[(2, &[event(2, "a")])]), watch(1, &[(2, &[other])])];
        assert_eq!(check(watches), 1);
    }

    #[test]
    fn a_watch_goes_on_where_it_was() {
        let mut resumed = watch(1, &[(2, &[event(2, "a")])]);
        resumed.segments.push(Segment { start: 3, ..Segment::default() });
        assert_eq!(check(vec![resumed.clone()]), 0);
        resumed.segments[1].start = 4;
        assert_eq!(check(vec![resumed]), 1);
    }
}
