//! Which events are repetitions, by upstream's rules.
//!
//! Core form: a repetition with the same text raises the count of the event that is there. After
//! [`SIMILAR`] different texts within [`SIMILAR_SPAN`] for the same object and reason, they become
//! one event whose text says so. One source may write [`BURST`] events about one object at once,
//! then one in five minutes.
//!
//! events.k8s.io form: the second event of the same kind turns the first one into a series; from
//! then on only the series' end is written. The text does not matter.

use super::{Raised, Type};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Different texts until they are combined.
const SIMILAR: usize = 10;
/// Time without similar events after which counting begins again.
const SIMILAR_SPAN: SignedDuration = SignedDuration::from_secs(600);
/// Events of one source about one object at once.
const BURST: f64 = 25.0;
/// Events per second after the burst.
const RATE: f64 = 1.0 / 300.0;
/// Time without repetition after which a series is over.
const SERIES_END: SignedDuration = SignedDuration::from_secs(360);
/// Keys that are remembered before the oldest are dropped.
const REMEMBERED: usize = 4096;

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    /// Path of the collection.
    pub(super) path: String,
    /// Name of the event.
    pub(super) name: String,
    /// The change, when the event is there already.
    pub(super) patch: Option<Value>,
    /// The whole event.
    pub(super) event: Value,
}

/// What makes events the same: type, reason, action and object, and in the core form the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    object: Object,
    kind: Type,
    reason: String,
    action: String,
    note: Option<String>,
}

/// What tells objects apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Object {
    api_version: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    field_path: Option<String>,
}

/// An event that was written.
struct Known {
    event: Value,
    name: String,
    path: String,
    count: i64,
    last: Timestamp,
}

/// Texts of similar events.
struct Similar {
    notes: HashSet<String>,
    last: Timestamp,
}

/// How many events may still be written.
struct Bucket {
    left: f64,
    last: Timestamp,
}

/// Remembers the events of one component.
pub(super) struct Correlator {
    component: String,
    instance: String,
    known: HashMap<Key, Known>,
    similar: HashMap<Key, Similar>,
    buckets: HashMap<Object, Bucket>,
}

impl Correlator {
    pub(super) fn new(component: &str, instance: &str) -> Self {
        Self {
            component: component.into(),
            instance: instance.into(),
            known: HashMap::new(),
            similar: HashMap::new(),
            buckets: HashMap::new(),
        }
    }

    /// Who writes, in the core form; some components name no host.
    fn source(&self) -> serde_json::Value {
        if self.instance.is_empty() {
            json!({"component": self.component})
        } else {
            json!({"component": self.component, "host": self.instance})
        }
    }

    /// What is to be written because of an event, if anything.
    pub(super) fn take(&mut self, raised: Raised) -> Option<Write> {
        let reference = &raised.regarding;
        let object = Object {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            uid: reference.uid.clone(),
            field_path: reference.field_path.clone(),
        };
        let key = Key {
            object,
            kind: raised.kind,
            reason: raised.reason.clone(),
            action: raised.action.clone(),
            note: None,
        };
        self.forget(raised.at);
        if raised.action.is_empty() { self.counted(raised, key) } else { self.series(raised, key) }
    }

    /// The core form.
    fn counted(&mut self, mut raised: Raised, mut key: Key) -> Option<Write> {
        let now = raised.at;
        let similar = self
            .similar
            .entry(key.clone())
            .or_insert_with(|| Similar { notes: HashSet::new(), last: now });
        if now.duration_since(similar.last) > SIMILAR_SPAN {
            similar.notes.clear();
        }
        similar.last = now;
        similar.notes.insert(raised.note.clone());
        if similar.notes.len() < SIMILAR {
            key.note = Some(raised.note.clone());
        } else {
            // One text goes, so that the set stays small and combining goes on.
            let any = similar.notes.iter().next().cloned();
            any.and_then(|any| similar.notes.take(&any));
            raised.note = format!("(combined from similar events): {}", raised.note);
        }
        if !self.allowed(&key.object, now) {
            return None;
        }
        if let Some(known) = self.known.get_mut(&key) {
            known.count += 1;
            known.last = now;
            let change = json!({
                "count": known.count,
                "lastTimestamp": seconds(now),
                "message": raised.note,
            });
            return Some(known.change(change));
        }
        let (name, namespace) = name_of(&raised);
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": raised.regarding,
            "reason": raised.reason,
            "message": raised.note,
            "source": self.source(),
            "firstTimestamp": seconds(now),
            "lastTimestamp": seconds(now),
            "count": 1,
            "type": text(raised.kind),
            "eventTime": null,
            "reportingComponent": self.component,
            "reportingInstance": self.instance,
        });
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let known = Known { event, name, path, count: 1, last: now };
        let write = known.create();
        self.known.insert(key, known);
        Some(write)
    }

    /// The events.k8s.io form.
    fn series(&mut self, raised: Raised, key: Key) -> Option<Write> {
        let now = raised.at;
        if let Some(known) = self.known.get_mut(&key) {
            known.count += 1;
            known.last = now;
            return (known.count == 2).then(|| known.in_series());
        }
        let (name, namespace) = name_of(&raised);
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": micros(now),
            "reportingController": self.component,
            "reportingInstance": self.instance,
            "action": raised.action,
            "reason": raised.reason,
            "regarding": raised.regarding,
            "note": raised.note,
            "type": text(raised.kind),
        });
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let known = Known { event, name, path, count: 1, last: now };
        let write = known.create();
        self.known.insert(key, known);
        Some(write)
    }

    /// Whether a source may write another event about an object.
    fn allowed(&mut self, object: &Object, now: Timestamp) -> bool {
        let bucket =
            self.buckets.entry(object.clone()).or_insert(Bucket { left: BURST, last: now });
        let passed = now.duration_since(bucket.last).as_secs_f64().max(0.0);
        bucket.left = (bucket.left + passed * RATE).min(BURST);
        bucket.last = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }

    /// Closes series without repetitions, and tells how they ended.
    pub(super) fn tidy(&mut self, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        self.known.retain(|key, known| {
            let over = now.duration_since(known.last) > SERIES_END;
            if key.action.is_empty() || !over {
                return true;
            }
            if known.count > 2 {
                writes.push(known.in_series());
            }
            false
        });
        writes
    }

    /// Drops what is old, when there is much.
    fn forget(&mut self, now: Timestamp) {
        let fresh = |last: Timestamp| now.duration_since(last) <= SIMILAR_SPAN;
        if self.known.len() >= REMEMBERED {
            self.known.retain(|_, known| fresh(known.last));
            shrink(&mut self.known, |known| known.last);
        }
        if self.similar.len() >= REMEMBERED {
            self.similar.retain(|_, similar| fresh(similar.last));
            shrink(&mut self.similar, |similar| similar.last);
        }
        if self.buckets.len() >= REMEMBERED {
            self.buckets.retain(|_, bucket| fresh(bucket.last));
            shrink(&mut self.buckets, |bucket| bucket.last);
        }
    }
}

/// Drops the older half of a map that is still full.
fn shrink<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, last: fn(&V) -> Timestamp) {
    if map.len() < REMEMBERED {
        return;
    }
    let mut moments: Vec<_> = map.values().map(last).collect();
    let middle = moments.len() / 2;
    let (_, border, _) = moments.select_nth_unstable(middle);
    let border = *border;
    map.retain(|_, value| last(value) > border);
}

impl Known {
    fn create(&self) -> Write {
        let event = self.event.clone();
        Write { path: self.path.clone(), name: self.name.clone(), patch: None, event }
    }

    /// The event with a change; the change alone when it is there already.
    fn change(&mut self, change: Value) -> Write {
        for (field, value) in change.as_object().into_iter().flatten() {
            self.event[field.as_str()] = value.clone();
        }
        Write { patch: Some(change), ..self.create() }
    }

    fn in_series(&mut self) -> Write {
        let series = json!({"count": self.count, "lastObservedTime": micros(self.last)});
        self.change(json!({"series": series}))
    }
}

fn text(kind: Type) -> &'static str {
    match kind {
        Type::Normal => "Normal",
        Type::Warning => "Warning",
    }
}

/// Name and namespace of a new event.
fn name_of(raised: &Raised) -> (String, String) {
    let object = raised.regarding.name.as_deref().unwrap_or_default();
    let object: String = object.chars().take(230).collect();
    let namespace = raised.regarding.namespace.as_deref().filter(|text| !text.is_empty());
    let name = format!("{object}.{:x}", raised.at.as_nanosecond());
    (name, namespace.unwrap_or("default").to_owned())
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn raised(note: &str, action: &str, second: i64) -> Raised {
        Raised {
            regarding: ObjectReference {
                kind: Some("Pod".into()),
                namespace: Some("shop".into()),
                name: Some("web".into()),
                ..ObjectReference::default()
            },
            kind: Type::Warning,
            reason: "Failed".into(),
            note: note.into(),
            action: action.into(),
            at: Timestamp::from_second(1_000_000 + second).expect("a time"),
        }
    }

    fn correlator() -> Correlator {
        Correlator::new("kubelet", "host-1")
    }

    #[test]
    fn a_repetition_raises_the_count_of_the_event_that_is_there() {
        let mut correlator = correlator();
        let first = correlator.take(raised("it broke", "", 0)).expect("written");
        assert_eq!(first.patch, None);
        assert_eq!(first.path, "/api/v1/namespaces/shop/events");
        assert_eq!(first.event["source"]["host"], "host-1");
        let second = correlator.take(raised("it broke", "", 5)).expect("written");
        assert_eq!(second.name, first.name);
        let patch = second.patch.expect("a change");
        assert_eq!(patch["count"], 2);
        assert_eq!(patch["lastTimestamp"], "1970-01-12T13:46:45Z");
    }

    #[test]
    fn many_texts_become_one_event() {
        let mut correlator = correlator();
        let texts: Vec<_> = (0..15).map(|number| format!("try {number}")).collect();
        let written: Vec<_> = texts
            .iter()
            .filter_map(|text| correlator.take(raised(text, "", 1)))
            .map(|write| write.event["message"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(written[8], "try 8");
        assert_eq!(written[9], "(combined from similar events): try 9");
        assert_eq!(written[14], "(combined from similar events): try 14");
        assert_eq!(correlator.known.len(), 10);
    }

    #[test]
    fn one_object_may_not_flood() {
        let mut correlator = correlator();
        let mut write = |second: i64| correlator.take(raised("again", "", second)).is_some();
        assert_eq!((0..40).filter(|_| write(0)).count(), 25);
        assert!(!write(200));
        assert!(write(600));
    }

    #[test]
    fn a_series_is_written_at_its_second_event_and_at_its_end() {
        let mut correlator = correlator();
        let first = correlator.take(raised("no room", "Scheduling", 0)).expect("written");
        assert_eq!(first.event["reportingInstance"], "host-1");
        let second = correlator.take(raised("still no room", "Scheduling", 10)).expect("written");
        let patch = second.patch.expect("a change");
        assert_eq!(patch["series"]["count"], 2);
        assert_eq!(patch["series"]["lastObservedTime"], "1970-01-12T13:46:50.000000Z");
        assert_eq!(correlator.take(raised("no room", "Scheduling", 20)), None);
        let later = |second: i64| Timestamp::from_second(1_000_000 + second).expect("a time");
        assert_eq!(correlator.tidy(later(300)), []);
        let end = correlator.tidy(later(1000));
        assert_eq!(end.len(), 1);
        assert_eq!(end[0].event["series"]["count"], 3);
        assert!(correlator.known.is_empty());
    }
}
