//! The Pods that wait for a node: ready ones by priority, failed ones behind a back-off, refused
//! ones until an event could change the mind of the plugin that refused them.
//!
//! Example: a Pod refused for lack of cpu sits in `Refused`. Another Pod is deleted:
//! `NodeResourcesFit` says that this could help, so it goes to `Backoff` until its back-off is
//! over, and is `Ready` then. With nothing ready, a Pod in back-off is taken early, because waiting
//! would help nobody.

#[cfg(test)]
mod tests;

use crate::{config::Config, event::Event, framework::Plugin, plugins::PLUGINS, pod_info::PodInfo};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// After this time a refused Pod is tried again without any event: the net below forgotten events.
const REFUSED_AT_MOST: Duration = Duration::from_secs(300);

/// Where a waiting Pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A gate holds it back.
    Held,
    /// Next to be tried.
    Ready,
    /// To be tried from that moment on; `true` after an error, when trying early could hurt.
    Backoff(Instant, bool),
    /// Refused; waits for an event since that moment.
    Refused(Instant),
    /// Being scheduled or bound.
    Flying,
}

/// A waiting Pod.
struct Waiting {
    info: Arc<PodInfo>,
    place: Place,
    attempts: u32,
    /// When it came in or was tried last.
    since: Instant,
    sequence: u64,
    /// The plugins that refused it.
    refused_by: Mask,
    /// The set under which it waits, while it is refused.
    filed_under: Mask,
}

/// A set of plugins, by position in their table. Empty means that anything may help.
type Mask = u32;

/// The set of these plugins.
fn mask(names: &[&str]) -> Mask {
    let has = |(_, plugin): &(usize, &&dyn Plugin)| names.contains(&plugin.name());
    PLUGINS.iter().enumerate().filter(has).fold(0, |mask, (at, _)| mask | 1 << at)
}

/// The plugins of a set.
fn members(mask: Mask) -> impl Iterator<Item = &'static dyn Plugin> {
    let all = PLUGINS.iter().enumerate();
    all.filter(move |(at, _)| mask & (1 << at) != 0).map(|(_, plugin)| *plugin)
}

/// Order among ready Pods: priority first, then time.
type ReadyKey = (Reverse<i32>, Instant, u64);

/// All waiting Pods.
pub struct Queue {
    pods: HashMap<String, Waiting>,
    ready: BTreeSet<(ReadyKey, String)>,
    backoff: BTreeSet<(Instant, String)>,
    /// Those of them that may be taken early: by the second in which their back-off ends, and
    /// within it as ready ones.
    early: BTreeSet<(u64, ReadyKey, String)>,
    /// Seconds are counted from here.
    begin: Instant,
    /// Refused Pods by the plugins that refused them: an event that no plugin of a set listens to
    /// costs nothing.
    refused: HashMap<Mask, BTreeSet<String>>,
    sequence: u64,
    first_backoff: Duration,
    longest_backoff: Duration,
}

impl Queue {
    /// An empty queue.
    pub fn new(config: &Config) -> Self {
        Self {
            pods: HashMap::new(),
            ready: BTreeSet::new(),
            backoff: BTreeSet::new(),
            early: BTreeSet::new(),
            begin: Instant::now(),
            refused: HashMap::new(),
            sequence: 0,
            first_backoff: Duration::from_secs(config.pod_initial_backoff_seconds),
            longest_backoff: Duration::from_secs(config.pod_max_backoff_seconds),
        }
    }

    /// Takes a Pod in, or its new version.
    pub fn set(&mut self, info: Arc<PodInfo>, now: Instant) {
        let held = PLUGINS.iter().find(|plugin| plugin.holds_back(&info));
        let uid = info.uid.clone();
        let Some(waiting) = self.pods.get(&uid) else {
            self.sequence += 1;
            let waiting = Waiting {
                info,
                place: Place::Held,
                attempts: 0,
                since: now,
                sequence: self.sequence,
                refused_by: mask(held.map(|plugin| plugin.name()).as_slice()),
                filed_under: 0,
            };
            self.pods.insert(uid.clone(), waiting);
            if held.is_none() {
                self.move_to(&uid, Place::Ready);
            }
            return;
        };
        let place = waiting.place;
        let old = waiting.info.clone();
        // The order depends on the Pod's priority: leave under the old one, come back under the
        // new.
        self.leave(&uid);
        let waiting = self.pods.get_mut(&uid).expect("it was found above");
        waiting.info = info;
        self.enter(&uid, place);
        match place {
            Place::Held if held.is_none() => self.move_to(&uid, Place::Ready),
            Place::Refused(_) if self.is_woken(&uid, &Event::SelfChanged { old: &old }) => {
                self.wake(&uid, now);
            }
            _ => {}
        }
    }

    /// Lets a Pod go: bound, deleted, or no longer ours.
    pub fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.pods.remove(uid);
    }

    /// The next Pod to try.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.end_backoffs(now);
        let uid = match self.ready.first() {
            Some((_, uid)) => uid.clone(),
            None => self.early.first()?.2.clone(),
        };
        self.move_to(&uid, Place::Flying);
        let waiting = self.pods.get_mut(&uid).expect("its uid was in the order");
        waiting.attempts += 1;
        waiting.since = now;
        Some(waiting.info.clone())
    }

    /// The Pod could not be placed: it waits for an event that concerns one of these plugins.
    pub fn refused(&mut self, uid: &str, by: &[&'static str], now: Instant) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.refused_by = mask(by);
        self.move_to(uid, Place::Refused(now));
    }

    /// Something went wrong with the Pod: it is tried again after its back-off.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        let Some(waiting) = self.pods.get(uid) else { return };
        let until = now + self.backoff_of(waiting.attempts);
        self.move_to(uid, Place::Backoff(until, true));
    }

    /// Something happened: moves the Pods that it could help.
    pub fn happened(&mut self, event: &Event, now: Instant) {
        let mut woken = Vec::new();
        for (mask, uids) in &self.refused {
            if *mask == 0 || members(*mask).any(|plugin| plugin.listens(event)) {
                woken.extend(uids.iter().filter(|uid| self.is_woken(uid, event)).cloned());
            }
        }
        for uid in woken {
            self.wake(&uid, now);
        }
    }

    /// Tries again what was refused long ago. Called from time to time.
    pub fn sweep(&mut self, now: Instant) {
        let long_ago = |one: &Waiting| matches!(one.place, Place::Refused(since) if now >= since + REFUSED_AT_MOST);
        let stale = self.pods.iter().filter(|(_, one)| long_ago(one));
        for uid in stale.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
            self.wake(&uid, now);
        }
    }

    /// When the next back-off ends.
    pub fn next_moment(&self) -> Option<Instant> {
        self.backoff.first().map(|(until, _)| *until)
    }

    /// How many Pods are ready, in back-off, refused and held back.
    pub fn sizes(&self) -> [usize; 4] {
        let count =
            |test: fn(&Place) -> bool| self.pods.values().filter(|one| test(&one.place)).count();
        [
            self.ready.len(),
            self.backoff.len(),
            count(|place| matches!(place, Place::Refused(_))),
            count(|place| matches!(place, Place::Held)),
        ]
    }

    /// Whether a plugin that refused the Pod says that the event could help.
    fn is_woken(&self, uid: &str, event: &Event) -> bool {
        let waiting = &self.pods[uid];
        if waiting.refused_by == 0 {
            // Our own status write comes back as a change of the Pod and must not wake it.
            return !matches!(event, Event::SelfChanged { .. });
        }
        members(waiting.refused_by).any(|plugin| plugin.wakes(event, &waiting.info))
    }

    /// Moves a refused Pod on: ready at once when its back-off is already over.
    fn wake(&mut self, uid: &str, now: Instant) {
        let waiting = &self.pods[uid];
        let until = waiting.since + self.backoff_of(waiting.attempts);
        let place = if until <= now { Place::Ready } else { Place::Backoff(until, false) };
        self.move_to(uid, place);
    }

    fn end_backoffs(&mut self, now: Instant) {
        while let Some((until, uid)) = self.backoff.first().cloned() {
            if until > now {
                return;
            }
            self.move_to(&uid, Place::Ready);
        }
    }

    /// How long a Pod waits after so many attempts.
    fn backoff_of(&self, attempts: u32) -> Duration {
        if attempts == 0 {
            return Duration::ZERO;
        }
        let doubled = self.first_backoff.saturating_mul(1 << (attempts - 1).min(16));
        doubled.min(self.longest_backoff)
    }

    fn move_to(&mut self, uid: &str, place: Place) {
        self.leave(uid);
        self.enter(uid, place);
    }

    /// Takes a Pod out of its order.
    fn leave(&mut self, uid: &str) {
        let Some(waiting) = self.pods.get(uid) else { return };
        match waiting.place {
            Place::Ready => {
                self.ready.remove(&(ready_key(waiting), uid.to_owned()));
            }
            Place::Backoff(until, error) => {
                self.backoff.remove(&(until, uid.to_owned()));
                if !error {
                    let second = (until - self.begin).as_secs();
                    self.early.remove(&(second, ready_key(waiting), uid.to_owned()));
                }
            }
            Place::Refused(_) => {
                let mask = waiting.filed_under;
                if let Some(uids) = self.refused.get_mut(&mask) {
                    uids.remove(uid);
                    if uids.is_empty() {
                        self.refused.remove(&mask);
                    }
                }
            }
            Place::Held | Place::Flying => {}
        }
    }

    /// Puts a Pod into the order of its new place.
    fn enter(&mut self, uid: &str, place: Place) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.place = place;
        match place {
            Place::Ready => {
                self.ready.insert((ready_key(waiting), uid.to_owned()));
            }
            Place::Backoff(until, error) => {
                self.backoff.insert((until, uid.to_owned()));
                if !error {
                    let second = (until - self.begin).as_secs();
                    self.early.insert((second, ready_key(waiting), uid.to_owned()));
                }
            }
            Place::Refused(_) => {
                waiting.filed_under = waiting.refused_by;
                self.refused.entry(waiting.refused_by).or_default().insert(uid.to_owned());
            }
            Place::Held | Place::Flying => {}
        }
    }
}

/// The order of a ready Pod.
fn ready_key(waiting: &Waiting) -> ReadyKey {
    (Reverse(waiting.info.priority), waiting.since, waiting.sequence)
}
