//! The work queue of controllers: keys wait in it once, however often they were added; a key that
//! is being worked on waits until that work is done; failures are tried again ever later.
//!
//! Example: `add(a)`, `add(a)`, `get() = a`, `add(a)`: nobody gets `a` now. `done(a)`: `get() = a`.

use parking_lot::Mutex;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How failures are delayed.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Delay after the first failure; it doubles with each.
    pub base: Duration,
    /// The longest delay.
    pub max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { base: Duration::from_millis(5), max: Duration::from_secs(30) }
    }
}

/// A queue of keys. Clones share it.
pub struct Queue<Key> {
    shared: Arc<Shared<Key>>,
}

impl<Key> Clone for Queue<Key> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<Key> {
    config: Config,
    state: Mutex<State<Key>>,
    /// There may be something to get.
    changed: Notify,
}

struct State<Key> {
    /// Keys that may be taken, in order.
    ready: VecDeque<Key>,
    /// Keys that wait to be taken, or to be taken again once their work is done.
    dirty: HashSet<Key>,
    /// Keys that are being worked on.
    working: HashSet<Key>,
    /// Moments at which keys are added; a number keeps equal moments in order.
    later: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The keys of those moments.
    waiting: HashMap<u64, Key>,
    /// The earliest moment of each waiting key.
    soonest: HashMap<Key, Instant>,
    next_number: u64,
    failures: HashMap<Key, u32>,
    closed: bool,
}

impl<Key: Clone + Eq + Hash + Send + 'static> Default for Queue<Key> {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl<Key: Clone + Eq + Hash + Send + 'static> Queue<Key> {
    /// An empty queue.
    pub fn new(config: Config) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            later: BinaryHeap::new(),
            waiting: HashMap::new(),
            soonest: HashMap::new(),
            next_number: 0,
            failures: HashMap::new(),
            closed: false,
        };
        let shared = Shared { config, state: Mutex::new(state), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Adds a key, unless it waits already.
    pub fn add(&self, key: Key) {
        self.shared.state.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// Adds a key after a while. Of several moments the earliest counts.
    pub fn add_after(&self, key: Key, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.shared.state.lock().add_at(key, Instant::now() + delay);
        self.shared.changed.notify_one();
    }

    /// Adds a key after a delay that grows with each failure since the last [`Self::forget`].
    pub fn add_rate_limited(&self, key: Key) {
        let delay = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = backoff(&self.shared.config, *failures);
            *failures = failures.saturating_add(1);
            delay
        };
        self.add_after(key, delay);
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &Key) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often a key has failed in a row.
    pub fn failures(&self, key: &Key) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// The next key to work on; `None` once the queue is closed. Dropping the future loses nothing.
    /// Whoever gets a key must say [`Self::done`] in the end.
    pub async fn get(&self) -> Option<Key> {
        loop {
            let notified = self.shared.changed.notified();
            let moment = {
                let mut state = self.shared.state.lock();
                if state.closed {
                    self.shared.changed.notify_one();
                    return None;
                }
                let moment = state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    if !state.ready.is_empty() || moment.is_some() {
                        self.shared.changed.notify_one();
                    }
                    return Some(key);
                }
                moment
            };
            match moment {
                Some(moment) => {
                    let _ = tokio::time::timeout_at(moment, notified).await;
                }
                None => notified.await,
            }
        }
    }

    /// The work on a key is over, well or not.
    pub fn done(&self, key: &Key) {
        let mut state = self.shared.state.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            self.shared.changed.notify_one();
        }
    }

    /// How many keys wait to be taken.
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Whether no key waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing waits, is delayed or is being worked on.
    pub fn is_idle(&self) -> bool {
        let state = self.shared.state.lock();
        state.ready.is_empty() && state.working.is_empty() && state.waiting.is_empty()
    }

    /// Ends all [`Self::get`]s, now and later.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl<Key: Clone + Eq + Hash> State<Key> {
    fn add(&mut self, key: Key) {
        if self.closed || !self.dirty.insert(key.clone()) {
            return;
        }
        if !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: Key, moment: Instant) {
        if self.closed || self.soonest.get(&key).is_some_and(|soonest| *soonest <= moment) {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.soonest.insert(key.clone(), moment);
        self.waiting.insert(number, key);
        self.later.push(Reverse((moment, number)));
    }

    /// Adds what is due, and tells the next moment at which something will be.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((moment, number))) = self.later.peek().copied() {
            if moment > now {
                return Some(moment);
            }
            self.later.pop();
            if let Some(key) = self.waiting.remove(&number) {
                // A key that was put forward has a later moment left: that one means nothing.
                if self.soonest.get(&key) == Some(&moment) {
                    self.soonest.remove(&key);
                    self.add(key);
                }
            }
        }
        None
    }
}

/// The delay after so many failures before this one.
fn backoff(config: &Config, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    config.base.saturating_mul(factor).min(config.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_added_twice_is_worked_on_once() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.get().await, Some("a"));
        assert_eq!(queue.get().await, Some("b"));
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn a_key_added_during_its_work_comes_again_after_it() {
        let queue = Queue::default();
        queue.add(1);
        assert_eq!(queue.get().await, Some(1));
        queue.add(1);
        assert!(queue.is_empty());
        queue.done(&1);
        assert_eq!(queue.get().await, Some(1));
        queue.done(&1);
        assert!(queue.is_idle());
    }

    #[tokio::test]
    async fn the_earliest_of_several_moments_counts_and_only_once() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after("a", Duration::from_millis(120));
        queue.add_after("a", Duration::from_millis(20));
        queue.add_after("a", Duration::from_millis(60));
        assert_eq!(queue.get().await, Some("a"));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert!(start.elapsed() < Duration::from_millis(120));
        queue.done(&"a");
        let again = tokio::time::timeout(Duration::from_millis(200), queue.get()).await;
        assert!(again.is_err(), "it came twice");
        assert!(queue.is_idle());
    }

    #[tokio::test]
    async fn failures_are_tried_ever_later_until_forgotten() {
        let queue = Queue::default();
        for (number, wait) in [5, 10, 20, 40].into_iter().enumerate() {
            let start = Instant::now();
            queue.add_rate_limited("a");
            queue.get().await;
            queue.done(&"a");
            assert!(start.elapsed() >= Duration::from_millis(wait), "failure {number}");
        }
        assert_eq!(queue.failures(&"a"), 4);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let config = Config::default();
        assert_eq!(backoff(&config, 0), Duration::from_millis(5));
        assert_eq!(backoff(&config, 3), Duration::from_millis(40));
        assert_eq!(backoff(&config, 70), Duration::from_secs(30));
    }

    #[tokio::test]
    async fn closing_ends_all_who_wait() {
        let queue = Queue::<u8>::default();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                stdx::task::spawn("waiting", async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for one in waiting {
            assert_eq!(one.await.expect("no panic"), None);
        }
    }
}
