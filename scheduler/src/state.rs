//! The scheduler's whole memory, and what every change in the cluster does to it. Synchronous and
//! without any I/O.

use crate::{
    cache::Cache,
    config::Config,
    cycle::choose,
    event::Event,
    framework::{View, World},
    plugins::volume_binding,
    pod_info::PodInfo,
    preemption::{self, Budget, Decision},
    queue::Queue,
    selector::Labels,
    volumes::{Plan, Promised},
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
        /// What its claims need before.
        volumes: Plan,
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

/// What was found for a Pod.
enum Choice {
    Node { node: String, volumes: Plan },
    Nothing { decision: Decision, message: String, plugins: Vec<&'static str> },
}

/// The cluster picture and the queue.
pub struct State {
    config: Config,
    /// The picture.
    pub cache: Cache,
    /// The queue.
    pub queue: Queue,
    /// Volumes that were promised to claims of Pods which are not bound yet.
    promised: Promised,
    start: usize,
}

impl State {
    /// An empty memory.
    pub fn new(config: Config) -> Self {
        let queue = Queue::new(&config);
        Self { config, cache: Cache::default(), queue, promised: Promised::new(), start: 0 }
    }

    /// Whether a Pod is for this scheduler.
    fn is_ours(&self, info: &PodInfo) -> bool {
        let name = info.pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        name.unwrap_or("default-scheduler") == self.config.scheduler_name
    }

    /// A Pod appeared or changed.
    pub fn pod_set(&mut self, pod: Arc<Pod>, now: Instant) {
        self.info_set(Arc::new(PodInfo::new(pod)), now);
    }

    /// The same, with everything about the Pod computed already.
    pub fn info_set(&mut self, info: Arc<PodInfo>, now: Instant) {
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
        if self.cache.set_namespace(name, labels) {
            self.queue.happened(&Event::NamespaceChanged, now);
        }
    }

    /// Takes the next Pod and decides. `None`: nothing to do now.
    pub fn step(
        &mut self,
        world: World,
        budgets: &dyn Fn() -> Vec<Budget>,
        now: Instant,
    ) -> Option<Outcome> {
        let info = self.queue.pop(now)?;
        let mut start = self.start;
        let choice = self.choose(&info, world, budgets, &mut start);
        self.start = start;
        Some(match choice {
            Choice::Node { node, volumes } => {
                self.promise(&volumes);
                self.cache.assume(info.clone(), &node);
                Outcome::Bind { info, node, volumes }
            }
            Choice::Nothing { decision, message, plugins } => {
                self.queue.refused(&info.uid, &plugins, now);
                self.refuse(info, decision, message)
            }
        })
    }

    /// Looks for a node, or for room that could be made.
    fn choose(
        &self,
        info: &PodInfo,
        world: World,
        budgets: &dyn Fn() -> Vec<Budget>,
        start: &mut usize,
    ) -> Choice {
        let nominations = self.cache.nominations();
        let view = View::of(&self.cache, &self.promised, world, &self.config);
        let nominated = nominations.node(&info.uid);
        let refusal = match choose(info, &view, nominations, nominated, start) {
            Ok(node) => {
                let chosen = self.cache.node(&node);
                let plan = chosen.and_then(|node| volume_binding::plan(info, &view, node));
                return Choice::Node { node, volumes: plan.unwrap_or_default() };
            }
            Err(refusal) => refusal,
        };
        let decision = match refusal.total {
            0 => Decision::No(String::new()),
            _ => preemption::decide(info, &view, &refusal, nominations, &budgets()),
        };
        let message = match &decision {
            Decision::No(after) => refusal.message(after),
            Decision::Yes { node, victims } => {
                refusal.message(&preemption::found(node, victims.len()))
            }
        };
        Choice::Nothing { decision, message, plugins: refusal.plugins() }
    }

    /// Keeps the volumes of a plan from others.
    fn promise(&mut self, plan: &Plan) {
        for (volume, claim) in &plan.bind {
            let name = volume.metadata.name.clone().unwrap_or_default();
            self.promised.insert(name, volume_binding::key(claim));
        }
    }

    /// The volumes of a plan are bound, or won't be.
    pub fn kept(&mut self, plan: &Plan) {
        for (volume, _) in &plan.bind {
            self.promised.remove(volume.metadata.name.as_deref().unwrap_or_default());
        }
    }

    /// A claim, a volume, a class or a node's drivers changed.
    pub fn storage_changed(&mut self, now: Instant) {
        self.queue.happened(&Event::StorageChanged, now);
    }

    /// Remembers what preemption decided.
    fn refuse(&mut self, info: Arc<PodInfo>, decision: Decision, message: String) -> Outcome {
        match decision {
            Decision::No(after) => {
                // Room that can't be had any more is kept for nobody, except while victims are
                // still ending.
                let ending = after.contains("terminating pod on the nominated node");
                let nominated = self.cache.nominations().node(&info.uid);
                let nominated = nominated.filter(|_| ending).map(str::to_owned);
                self.cache.nominate(&info, nominated.as_deref());
                Outcome::Refuse { info, message, nominated, victims: vec![], displaced: vec![] }
            }
            Decision::Yes { node, victims } => {
                let displaced = self.cache.nominations().after(&info, &node);
                for one in &displaced {
                    self.cache.nominate(one, None);
                }
                self.cache.nominate(&info, Some(&node));
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
