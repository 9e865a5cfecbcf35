//! The scheduler's whole memory, and what every change in the cluster does to it. Synchronous and without any I/O.

use crate::{
    cache::{Cache, Nominations},
    config::Config,
    cycle::choose,
    event::Event,
    framework::View,
    pod_info::PodInfo,
    preemption::{self, Budget, Decision},
    queue::Queue,
    selector::Labels,
    workloads::Workloads,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;
use tokio::time::Instant;

/// What the loop has to write after a decision.
pub enum Outcome {
    /// Bind the Pod, which is already counted there.
    Bind {
        /// Which Pod.
        info: Arc<PodInfo>,
        /// Where to.
        node: String,
    },
    /// Tell that the Pod can't be placed.
    Refuse {
        /// Which Pod.
        info: Arc<PodInfo>,
        /// Why.
        message: String,
        /// Room kept for it from now on.
        nominated: Option<String>,
        /// Pods to end for it.
        victims: Vec<Arc<PodInfo>>,
        /// Less important Pods that lose the room kept for them.
        displaced: Vec<Arc<PodInfo>>,
    },
}

/// The cluster picture and the queue.
pub struct State {
    config: Config,
    /// The picture.
    pub cache: Cache,
    /// The queue.
    pub queue: Queue,
    start: usize,
}

impl State {
    /// An empty memory.
    pub fn new(config: Config) -> Self {
        let queue = Queue::new(&config);
        Self { config, cache: Cache::default(), queue, start: 0 }
    }

    /// Whether a Pod is for this scheduler.
    fn is_ours(&self, info: &PodInfo) -> bool {
        let name = info.pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        name.unwrap_or("default-scheduler") == self.config.scheduler_name
    }

    /// A Pod appeared or changed.
    pub fn pod_set(&mut self, pod: Arc<Pod>, now: Instant) {
        let info = Arc::new(PodInfo::new(pod));
        if info.is_finished() {
            self.pod_gone(&info, now);
        } else if info.node_name().is_some() {
            self.pod_bound(info, now);
        } else if info.terminating || !self.is_ours(&info) {
            self.queue.remove(&info.uid);
            self.cache.nominate(&info, None);
        } else if !self.cache.is_placed(&info.uid) {
            if info.nominated_node().is_some() {
                self.cache.nominate(&info, info.nominated_node());
            }
            self.queue.set(info, now);
        }
    }

    fn pod_bound(&mut self, info: Arc<PodInfo>, now: Instant) {
        self.queue.remove(&info.uid);
        match self.cache.set_pod(info.clone()) {
            None => self.queue.happened(&Event::PodBound(&info), now),
            Some(old) => {
                self.queue.happened(&Event::PodChanged { old: &old, new: &info }, now);
            }
        }
    }

    /// A Pod was deleted.
    pub fn pod_removed(&mut self, pod: Arc<Pod>, now: Instant) {
        self.pod_gone(&PodInfo::new(pod), now);
    }

    fn pod_gone(&mut self, info: &PodInfo, now: Instant) {
        self.queue.remove(&info.uid);
        if let Some(counted) = self.cache.remove_pod(&info.uid) {
            self.queue.happened(&Event::PodGone(&counted), now);
        }
    }

    /// A node appeared or changed.
    pub fn node_set(&mut self, node: Arc<Node>, now: Instant) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let old = self.cache.set_node(node);
        let Some(new) = self.cache.node(&name) else { return };
        let event = match &old {
            Some(old) => Event::NodeChanged { old, new },
            None => Event::NodeAdded(new),
        };
        self.queue.happened(&event, now);
    }

    /// A node was deleted.
    pub fn node_removed(&mut self, name: &str, now: Instant) {
        self.cache.remove_node(name);
        self.queue.happened(&Event::NodeRemoved, now);
    }

    /// A namespace appeared, changed (its labels are given) or went away.
    pub fn namespace_set(&mut self, name: &str, labels: Option<Labels>, now: Instant) {
        let before = match labels.clone() {
            Some(labels) => self.cache.namespaces.insert(name.to_owned(), labels),
            None => self.cache.namespaces.remove(name),
        };
        if before != labels {
            self.queue.happened(&Event::NamespaceChanged, now);
        }
    }

    /// Takes the next Pod and decides. `None`: nothing to do now.
    pub fn step(
        &mut self,
        workloads: &dyn Workloads,
        budgets: &dyn Fn() -> Vec<Budget>,
        now: Instant,
    ) -> Option<Outcome> {
        let info = self.queue.pop(now)?;
        let nominations = self.cache.nominations();
        let nominated = self.cache.nomination(&info.uid).map(str::to_owned);
        let view = View {
            nodes: self.cache.nodes().collect(),
            namespaces: &self.cache.namespaces,
            workloads,
            config: &self.config,
        };
        let mut start = self.start;
        let choice = choose(&info, &view, &nominations, nominated.as_deref(), &mut start);
        let refusal = match choice {
            Ok(node) => {
                drop(view);
                self.start = start;
                self.cache.assume(info.clone(), &node);
                return Some(Outcome::Bind { info, node });
            }
            Err(refusal) => refusal,
        };
        let decision = match refusal.total {
            0 => Decision::No(String::new()),
            _ => preemption::decide(&info, &view, &refusal, &nominations, &budgets()),
        };
        drop(view);
        self.start = start;
        self.queue.refused(&info.uid, refusal.plugins(), now);
        Some(self.refuse(info, decision, &nominations, |after| refusal.message(after)))
    }

    /// Remembers what preemption decided.
    fn refuse(
        &mut self,
        info: Arc<PodInfo>,
        decision: Decision,
        nominations: &Nominations,
        message: impl Fn(&str) -> String,
    ) -> Outcome {
        match decision {
            Decision::No(after) => {
                let nominated = self.cache.nomination(&info.uid).map(str::to_owned);
                // Room that can't be had any more is kept for nobody, except while victims are still ending.
                let ending = after.contains("terminating pod on the nominated node");
                let nominated = nominated.filter(|_| ending);
                self.cache.nominate(&info, nominated.as_deref());
                let message = message(&after);
                Outcome::Refuse { info, message, nominated, victims: vec![], displaced: vec![] }
            }
            Decision::Yes { node, victims } => {
                let displaced = nominations.after(&info, &node);
                for one in &displaced {
                    self.cache.nominate(one, None);
                }
                self.cache.nominate(&info, Some(&node));
                let message = message(&preemption::found(&node, victims.len()));
                Outcome::Refuse { info, message, nominated: Some(node), victims, displaced }
            }
        }
    }

    /// The binding was written.
    pub fn bound(&mut self, uid: &str) {
        self.queue.remove(uid);
    }

    /// The binding was refused: the Pod is not there after all.
    pub fn unbound(&mut self, info: &Arc<PodInfo>, retry: bool, now: Instant) {
        if self.cache.forget(&info.uid) {
            self.queue.happened(&Event::PodGone(info), now);
        }
        if retry {
            self.queue.failed(&info.uid, now);
        } else {
            self.queue.remove(&info.uid);
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
