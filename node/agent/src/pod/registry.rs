//! Which Pods this node has, and their workers: changes of the API and of the runtime find the
//! right one here.

use super::admit;
use super::container::log_path;
use super::seen::{Seen, is_running};
use super::shared::Shared;
use super::spec;
use super::worker::Worker;
use crate::ctx::Ctx;
use crate::server::{Pods, Target};
use crate::statics;
use client::{Change, Informer};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use parking_lot::Mutex;
use runtime::Event;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Annotation that names the container which commands go to when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// All Pods of a node.
pub(crate) struct Registry {
    ctx: Arc<Ctx>,
    state: Mutex<State>,
}

/// Workers, and what the runtime had when the agent started.
#[derive(Default)]
struct State {
    pods: HashMap<String, Arc<Shared>>,
    /// By uid; taken out by the worker of the Pod.
    found: HashMap<String, Seen>,
}

impl Registry {
    /// With what an earlier agent has left in the runtime.
    pub(crate) fn new(ctx: Arc<Ctx>, found: HashMap<String, Seen>) -> Arc<Self> {
        let state = State { pods: HashMap::new(), found };
        Arc::new(Self { ctx, state: Mutex::new(state) })
    }

    /// Follows an informer of this node's Pods.
    pub(crate) fn follow(self: &Arc<Self>, informer: &Informer<Pod>) {
        self.set_all(informer);
        let registry = Arc::downgrade(self);
        informer.on_event(move |change| {
            let Some(registry) = registry.upgrade() else { return };
            match change {
                Change::Added(pod) | Change::Updated { new: pod, .. } => registry.set(pod),
                Change::Deleted(pod) => registry.remove(&pod),
            }
        });
        self.set_all(informer);
    }

    /// Takes all Pods there are. Those that run here come first, then older before younger ones:
    /// who was admitted once must not lose its place to a later one.
    fn set_all(self: &Arc<Self>, informer: &Informer<Pod>) {
        let mut pods = informer.list();
        let found: HashSet<String> = self.state.lock().found.keys().cloned().collect();
        pods.sort_by_key(|pod| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (!found.contains(&spec::id(pod).uid), created)
        });
        for pod in pods {
            self.set(pod);
        }
    }

    /// A Pod is new or has changed.
    pub(crate) fn set(self: &Arc<Self>, pod: Arc<Pod>) {
        // A mirror only shows what a manifest of this node says.
        if statics::is_mirror(&pod) {
            return;
        }
        let uid = spec::id(&pod).uid;
        let mut state = self.state.lock();
        if let Some(shared) = state.pods.get(&uid) {
            return shared.set_pod(pod);
        }
        let seen = state.found.remove(&uid).unwrap_or_default();
        let rejected = self.refusal(&state, &pod, &seen);
        let shared = Shared::new(pod);
        state.pods.insert(uid, shared.clone());
        drop(state);
        self.spawn(shared, seen, rejected);
    }

    /// Starts the worker of a Pod.
    fn spawn(
        self: &Arc<Self>,
        shared: Arc<Shared>,
        seen: Seen,
        rejected: Option<(String, String)>,
    ) {
        let registry = Arc::downgrade(self);
        let worker = Worker::new(self.ctx.clone(), shared, seen, rejected, registry);
        stdx::task::spawn("pod", worker.run());
    }

    /// Why the node does not take a Pod, if it does not.
    fn refusal(&self, state: &State, pod: &Pod, seen: &Seen) -> Option<(String, String)> {
        let over = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        // What runs already was taken once.
        if seen.sandbox.is_some() || over(pod) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let all = state.pods.values();
        let live = all.filter(|shared| !shared.is_finished() && !shared.is_gone());
        let live = live.map(|shared| shared.pod());
        let live: Vec<Arc<Pod>> = live.filter(|pod| !over(pod)).collect();
        let (pods, allocatable) = (self.ctx.config.max_pods, &self.ctx.allocatable);
        let (reason, message) = admit::refusal(pod, &live, &admit::Room { pods, allocatable })?;
        let kind = client::events::Type::Warning;
        self.ctx.tell(pod, None, kind, &reason, &message);
        Some((reason, format!("Pod was rejected: {message}")))
    }

    /// The API object of a Pod is gone.
    fn remove(&self, pod: &Pod) {
        let uid = spec::id(pod).uid;
        let mut state = self.state.lock();
        let Some(shared) = state.pods.get(&uid).cloned() else { return };
        shared.set_gone();
        if shared.is_finished() {
            state.pods.remove(&uid);
        }
    }

    /// The manifest of a static Pod is gone.
    pub(crate) fn vanish(&self, uid: &str) {
        let state = self.state.lock();
        if let Some(shared) = state.pods.get(uid) {
            shared.set_gone();
        }
    }

    /// The mirror of a static Pod is new.
    pub(crate) fn retell(&self, uid: &str) {
        if let Some(shared) = self.state.lock().pods.get(uid) {
            shared.retell();
        }
    }

    /// Whether a Pod is known.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.state.lock().pods.contains_key(uid)
    }

    /// A worker has ended. Its entry stays until the API object is gone, so that no second worker
    /// starts.
    pub(crate) fn finished(&self, shared: &Arc<Shared>) {
        let mut state = self.state.lock();
        shared.finish();
        if shared.is_gone() {
            state.pods.remove(&shared.id.uid);
        }
    }

    /// What an earlier agent has left and no Pod has claimed.
    pub(crate) fn unclaimed(&self) -> HashMap<String, Seen> {
        std::mem::take(&mut self.state.lock().found)
    }

    /// Uids of all Pods.
    pub(crate) fn uids(&self) -> std::collections::HashSet<String> {
        self.state.lock().pods.keys().cloned().collect()
    }

    /// Wakes workers when something happens to their containers.
    pub(crate) async fn listen(self: Arc<Self>) {
        let mut events = self.ctx.runtime.events();
        loop {
            match events.recv().await {
                Ok(Event::Started { sandbox, .. } | Event::Exited { sandbox, .. }) => {
                    self.wake(Some(&sandbox));
                }
                // We fell behind: everybody looks.
                Err(RecvError::Lagged(_)) => self.wake(None),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Wakes the worker of a sandbox, or all.
    fn wake(&self, sandbox: Option<&str>) {
        for shared in self.state.lock().pods.values() {
            let seen = shared.seen();
            let mut own = seen.sandbox.iter().chain(&seen.old);
            if sandbox.is_none_or(|id| own.any(|one| one.id == id)) {
                shared.wake();
            }
        }
    }
}

impl Pods for Registry {
    fn find(&self, namespace: &str, pod: &str, container: Option<&str>) -> Option<Target> {
        let shared = {
            let state = self.state.lock();
            let mut all = state.pods.values();
            let named = all.find(|shared| {
                let id = &shared.id;
                id.namespace == namespace && id.name == pod && !shared.is_finished()
            });
            named?.clone()
        };
        let object = shared.pod();
        let annotated = object.metadata.annotations.as_ref();
        let annotated = annotated.and_then(|all| all.get(DEFAULT_CONTAINER)).map(String::as_str);
        let first = object.spec.as_ref().and_then(|spec| spec.containers.first());
        let first = first.map(|container| container.name.as_str());
        let name = container.filter(|name| !name.is_empty()).or(annotated).or(first)?;
        spec::container(&object, name)?;
        let seen = shared.seen();
        let mut instances = seen.instances(name);
        let (latest, before) = (instances.next(), instances.next());
        let log = |one: &runtime::Container| {
            let path = one.config.log_path.clone();
            path.unwrap_or_else(|| log_path(&self.ctx.config, &shared.id, name, one.config.attempt))
        };
        Some(Target {
            uid: shared.id.uid.clone(),
            sandbox: seen.sandbox.as_ref().map(|one| one.id.clone()).unwrap_or_default(),
            container: latest.map(|one| one.id.clone()).unwrap_or_default(),
            name: name.to_owned(),
            log_path: match latest {
                Some(latest) => log(latest),
                None => log_path(&self.ctx.config, &shared.id, name, 0),
            },
            previous_log: before.map(log),
            running: latest.is_some_and(is_running),
            host_network: spec::host_network(&object),
        })
    }

    fn list(&self) -> List<Pod> {
        let state = self.state.lock();
        let items = state.pods.values().map(|shared| (*shared.pod()).clone()).collect();
        List { items, metadata: ListMeta::default() }
    }
}
