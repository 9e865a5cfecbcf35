//! Who is silent: heartbeats as seen by this process's clock.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// The conditions that become unknown with a node's silence.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What changes with every heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    /// When the Lease was renewed, as the node says.
    renewed: Option<Timestamp>,
    /// When the Ready condition was posted, as the node says.
    posted: Option<Timestamp>,
    /// What the Ready condition says; not counted once we wrote it ourselves.
    ready: Option<String>,
}

impl Beat {
    /// The last heartbeat of a node.
    pub(super) fn of(node: &Node, lease: Option<&Lease>) -> Self {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let status = node.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let ready = conditions.unwrap_or_default().iter().find(|one| one.type_ == "Ready");
        Self {
            renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
            posted: ready.and_then(|one| one.last_heartbeat_time.as_ref()).map(|time| time.0),
            ready: ready.map(|one| one.status.clone()).filter(|status| status != "Unknown"),
        }
    }

    /// The node has never said anything.
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The last heartbeat of one node.
struct Seen {
    beat: Beat,
    at: Instant,
}

/// The heartbeats of all nodes.
pub(super) struct Health {
    grace: Duration,
    startup_grace: Duration,
    seen: HashMap<String, Seen>,
    /// When the last round ended in which the control plane worked.
    last_good: Instant,
}

impl Health {
    /// No node is known yet.
    pub(super) fn new(grace: Duration, startup_grace: Duration, now: Instant) -> Self {
        Self { grace, startup_grace, seen: HashMap::new(), last_good: now }
    }

    /// A round's check ran from `started` to `now`. Time in which no heartbeat could have been
    /// taken in is added to everybody's account.
    pub(super) fn passed(&mut self, started: Instant, now: Instant, works: bool, period: Duration) {
        if !works {
            return;
        }
        let stood_still = now.duration_since(self.last_good);
        let checking = now.duration_since(started);
        // A round that came and was answered when it should needs no correction.
        if stood_still > period * 3 || checking > period {
            let usual = period.min(stood_still);
            let lost = stood_still - usual;
            for seen in self.seen.values_mut() {
                seen.at = (seen.at + lost).min(now);
            }
        }
        self.last_good = now;
    }

    /// Takes in what a node said last; whether it has been silent for too long.
    pub(super) fn is_silent(&mut self, node: &str, beat: Beat, now: Instant) -> bool {
        let grace = if beat.is_nothing() { self.startup_grace } else { self.grace };
        match self.seen.get_mut(node) {
            None => {
                self.seen.insert(node.to_owned(), Seen { beat, at: now });
                false
            }
            Some(seen) => {
                let newer = beat.renewed > seen.beat.renewed
                    || beat.posted > seen.beat.posted
                    || beat.ready.is_some() && beat.ready != seen.beat.ready;
                if newer {
                    seen.at = now;
                    seen.beat = beat;
                } else if beat.ready.is_none() {
                    // We wrote Unknown ourselves: the same status posted again is a heartbeat then.
                    seen.beat.ready = None;
                }
                now.duration_since(seen.at) > grace
            }
        }
    }

    /// Forgets nodes that are gone.
    pub(super) fn forget_others(&mut self, nodes: &HashSet<String>) {
        self.seen.retain(|node, _| nodes.contains(node));
    }
}

/// The conditions that show a node's silence; `None` when it shows already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let status = node.status.as_ref();
    let current = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let changed: Vec<NodeCondition> = CONDITIONS
        .iter()
        .filter_map(|kind| match current.iter().find(|one| one.type_ == *kind) {
            Some(one) if one.status == "Unknown" => None,
            Some(one) => Some(NodeCondition {
                status: "Unknown".into(),
                reason: Some("NodeStatusUnknown".into()),
                message: Some("Kubelet stopped posting node status.".into()),
                last_transition_time: Some(Time(now)),
                ..one.clone()
            }),
            None => Some(NodeCondition {
                type_: (*kind).into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
        })
        .collect();
    (!changed.is_empty()).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;
    use serde_json::json;

    const SECOND: Duration = Duration::from_secs(1);

    fn beat(seconds: i64) -> Beat {
        let renewed = Timestamp::from_second(seconds).ok();
        Beat { renewed, posted: None, ready: Some("True".into()) }
    }

    #[test]
    fn a_node_is_silent_after_its_grace_without_heartbeat() {
        let start = Instant::now();
        let mut health = Health::new(3 * SECOND, 10 * SECOND, start);
        assert!(!health.is_silent("n", beat(1), start));
        assert!(!health.is_silent("n", beat(1), start + 3 * SECOND));
        assert!(health.is_silent("n", beat(1), start + 4 * SECOND));
        assert!(!health.is_silent("n", beat(2), start + 5 * SECOND));
        assert!(!health.is_silent("n", beat(2), start + 8 * SECOND));
    }

    #[test]
    fn a_node_that_never_spoke_has_longer() {
        let start = Instant::now();
        let mut health = Health::new(3 * SECOND, 10 * SECOND, start);
        assert!(!health.is_silent("n", Beat::default(), start));
        assert!(!health.is_silent("n", Beat::default(), start + 9 * SECOND));
        assert!(health.is_silent("n", Beat::default(), start + 11 * SECOND));
    }

    #[test]
    fn time_without_a_working_control_plane_counts_for_nobody() {
        let start = Instant::now();
        let mut health = Health::new(3 * SECOND, 10 * SECOND, start);
        assert!(!health.is_silent("n", beat(1), start));
        health.passed(start, start + SECOND, false, SECOND);
        let later = start + 60 * SECOND;
        health.passed(later, later, true, SECOND);
        assert!(!health.is_silent("n", beat(1), later));
        assert!(health.is_silent("n", beat(1), later + 4 * SECOND));
    }

    #[test]
    fn the_same_status_posted_again_ends_a_silence_that_we_wrote() {
        let start = Instant::now();
        let mut health = Health::new(SECOND, SECOND, start);
        health.is_silent("n", beat(1), start);
        let mut written = beat(1);
        written.ready = None;
        assert!(health.is_silent("n", written, start + 5 * SECOND));
        assert!(!health.is_silent("n", beat(1), start + 6 * SECOND));
    }

    #[test]
    fn conditions_that_were_never_posted_are_added() {
        let one =
            node("n", json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
        let changed = unknown(&one, Timestamp::UNIX_EPOCH).expect("changed");
        let reasons: Vec<_> =
            changed.iter().map(|one| one.reason.as_deref().expect("one")).collect();
        assert_eq!(reasons[0], "NodeStatusUnknown");
        assert_eq!(&reasons[1..], ["NodeStatusNeverUpdated"; 3]);
        let mut silent = one;
        silent.status.as_mut().expect("status").conditions = Some(changed);
        assert_eq!(unknown(&silent, Timestamp::UNIX_EPOCH), None);
    }
}
