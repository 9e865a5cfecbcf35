//! The running scheduler: informers feed the state, one loop decides, tasks write.

use crate::{
    actions::Actions, config::Config, framework::World, pod_info::PodInfo, preemption::Budget,
    selector::Selector, state::State, volumes, workloads::FromInformers,
};
use client::{Change, Client, Informer, Informers};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use parking_lot::Mutex;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use stdx::Shutdown;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

/// How often Pods that were refused long ago are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// Why the scheduler ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting makes no sense.
    #[error("scheduler: {0}")]
    Config(String),
}

/// What the informers' handlers and the loop share.
pub(crate) struct Shared {
    /// The memory.
    pub(crate) state: Mutex<State>,
    /// Something changed.
    pub(crate) changed: Notify,
}

/// The informers that fill the state.
struct Sources {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    namespaces: Informer<Namespace>,
    budgets: Informer<PodDisruptionBudget>,
    workloads: FromInformers,
    volumes: Arc<volumes::FromInformers>,
}

impl Sources {
    fn new(informers: &Informers) -> Self {
        Self {
            pods: informers.of(),
            nodes: informers.of(),
            namespaces: informers.of(),
            budgets: informers.of(),
            workloads: FromInformers::new(informers),
            volumes: Arc::new(volumes::FromInformers::new(informers)),
        }
    }

    async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        self.namespaces.synced().await;
        self.budgets.synced().await;
        self.workloads.synced().await;
        self.volumes.synced().await;
    }

    /// How many more Pods of each budget may be disturbed.
    fn budgets(&self) -> Vec<Budget> {
        let all = self.budgets.list();
        let read = |budget: &Arc<PodDisruptionBudget>| Budget {
            namespace: budget.metadata.namespace.clone().unwrap_or_default(),
            selector: Selector::compile(
                budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()),
            ),
            allowed: budget
                .status
                .as_ref()
                .and_then(|status| status.disruptions_allowed)
                .unwrap_or(0),
        };
        all.iter().map(read).collect()
    }

    /// From now on every change goes into the state; and everything that is there already.
    ///
    /// A handler may outlive the term of a leader for a moment, so it holds the state only weakly.
    fn feed(&self, shared: &Arc<Shared>, shutdown: &Shutdown) {
        let weak = Arc::downgrade(shared);
        self.pods.on_event_until(shutdown, move |change| {
            // What takes long is computed before the state is locked.
            match change {
                Change::Added(pod) | Change::Updated { new: pod, .. } => {
                    let info = Arc::new(PodInfo::new(pod));
                    with(&weak, |state| state.info_set(info, Instant::now()));
                }
                Change::Deleted(pod) => {
                    with(&weak, |state| state.pod_removed(pod, Instant::now()));
                }
            }
        });
        let weak = Arc::downgrade(shared);
        self.nodes.on_event_until(shutdown, move |change| {
            with(&weak, |state| match change {
                Change::Added(node) | Change::Updated { new: node, .. } => {
                    state.node_set(node, Instant::now());
                }
                Change::Deleted(node) => {
                    let name = node.metadata.name.as_deref().unwrap_or_default();
                    state.node_removed(name, Instant::now());
                }
            });
        });
        let weak = Arc::downgrade(shared);
        self.namespaces.on_event_until(shutdown, move |change| {
            with(&weak, |state| {
                let (namespace, there) = match change {
                    Change::Added(one) | Change::Updated { new: one, .. } => (one, true),
                    Change::Deleted(one) => (one, false),
                };
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                let name = namespace.metadata.name.as_deref().unwrap_or_default();
                state.namespace_set(name, there.then_some(labels), Instant::now());
            });
        });
        let weak = Arc::downgrade(shared);
        self.volumes.on_change(shutdown, move || {
            with(&weak, |state| state.storage_changed(Instant::now()));
        });
        self.fill(shared);
    }

    /// Takes in what the informers hold. What vanishes meanwhile is not taken in: the informer is
    /// asked again under the state's lock, and its handlers wait for that lock.
    fn fill(&self, shared: &Arc<Shared>) {
        for node in self.nodes.list() {
            let mut state = shared.state.lock();
            let name = node.metadata.name.as_deref().unwrap_or_default();
            if let Some(node) = self.nodes.get("", name) {
                state.node_set(node, Instant::now());
            }
        }
        for one in self.namespaces.list() {
            let mut state = shared.state.lock();
            let name = one.metadata.name.as_deref().unwrap_or_default();
            if let Some(one) = self.namespaces.get("", name) {
                let labels = one.metadata.labels.clone().unwrap_or_default();
                state.namespace_set(name, Some(labels), Instant::now());
            }
        }
        for pod in self.pods.list() {
            let mut state = shared.state.lock();
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if let Some(pod) = self.pods.get(namespace, name) {
                state.pod_set(pod, Instant::now());
            }
        }
        shared.changed.notify_one();
    }
}

/// Changes the state, if this term's scheduler still lives, and wakes its loop.
fn with(shared: &Weak<Shared>, change: impl FnOnce(&mut State)) {
    let Some(shared) = shared.upgrade() else { return };
    change(&mut shared.state.lock());
    shared.changed.notify_one();
}

/// Asks for the informers that [`run`] needs, so that a standby has them filled when its turn
/// comes.
pub fn warm(informers: &Informers) {
    Sources::new(informers);
}

/// Schedules until told to stop. Called only while this replica leads.
pub async fn run(
    config: Config,
    client: Client,
    informers: Informers,
    shutdown: Shutdown,
) -> Result<(), Error> {
    if config.parallelism == 0 || config.percentage_of_nodes_to_score > 100 {
        let text = "parallelism must be above 0, percentage-of-nodes-to-score at most 100";
        return Err(Error::Config(text.into()));
    }
    let sources = Sources::new(&informers);
    if shutdown.guard(sources.synced()).await.is_none() {
        return Ok(());
    }
    let shared =
        Arc::new(Shared { state: Mutex::new(State::new(config.clone())), changed: Notify::new() });
    sources.feed(&shared, &shutdown);
    tracing::info!(nodes = sources.nodes.list().len(), "scheduling");
    let actions = Arc::new(Actions::new(&config, client, shared.clone(), sources.volumes.clone()));
    let writers = Arc::new(Semaphore::new(config.parallelism));
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let Some(Ok(permit)) = shutdown.guard(writers.clone().acquire_owned()).await else {
            break;
        };
        let outcome = {
            let mut state = shared.state.lock();
            let world = World { workloads: &sources.workloads, volumes: &*sources.volumes };
            state.step(world, &|| sources.budgets(), Instant::now())
        };
        if let Some(outcome) = outcome {
            let actions = actions.clone();
            let stop = shutdown.clone();
            stdx::task::spawn("scheduler-write", async move {
                stop.guard(actions.perform(outcome)).await;
                drop(permit);
            });
            tokio::task::yield_now().await;
            continue;
        }
        drop(permit);
        let moment = shared.state.lock().queue.next_moment();
        tokio::select! {
            () = shutdown.triggered() => break,
            () = shared.changed.notified() => {}
            () = until(moment) => {}
            _ = sweep.tick() => shared.state.lock().queue.sweep(Instant::now()),
        }
    }
    tracing::info!("no longer scheduling");
    Ok(())
}

/// Sleeps until a moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
