//! What the rest of the agent tells a Pod's worker, and what the worker shows.
//!
//! Telling never waits: the newest Pod replaces the one before, news is collected, and the worker
//! is woken once.

use super::seen::Seen;
use super::spec::{self, Id};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Probe {
    /// Whether it has come up.
    Startup,
    /// Whether it still lives.
    Liveness,
    /// Whether it can take traffic.
    Readiness,
}

/// Something that a task of the Pod has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A probe of a container has decided.
    Probed {
        /// The container.
        id: String,
        /// Which probe.
        probe: Probe,
        /// What it found.
        good: bool,
    },
    /// A postStart hook has ended.
    Hooked {
        /// The container.
        id: String,
        /// Whether it failed.
        failed: bool,
    },
    /// A stop has ended.
    Stopped {
        /// The container.
        id: String,
    },
}

/// The mailbox and the shop window of a worker.
pub(crate) struct Shared {
    /// The Pod's name parts.
    pub(crate) id: Id,
    wake: Notify,
    state: Mutex<State>,
}

/// What is in it.
struct State {
    pod: Arc<Pod>,
    gone: bool,
    refresh: bool,
    retell: bool,
    finished: bool,
    /// At most one entry per probe, hook and stop of a container is on its way.
    news: Vec<News>,
    seen: Arc<Seen>,
}

/// What a worker takes out.
pub(crate) struct Letter {
    /// The newest Pod.
    pub(crate) pod: Arc<Pod>,
    /// Whether the API object is gone.
    pub(crate) gone: bool,
    /// Whether an object that the Pod refers to has changed.
    pub(crate) refresh: bool,
    /// Whether the API has forgotten the Pod's status.
    pub(crate) retell: bool,
    /// What tasks have found out.
    pub(crate) news: Vec<News>,
}

impl Shared {
    /// For a new Pod.
    pub(crate) fn new(pod: Arc<Pod>) -> Arc<Self> {
        Arc::new(Self {
            id: spec::id(&pod),
            wake: Notify::new(),
            state: Mutex::new(State {
                pod,
                gone: false,
                refresh: false,
                retell: false,
                finished: false,
                news: Vec::new(),
                seen: Arc::default(),
            }),
        })
    }

    /// The Pod has changed. What is older than what we have is late news.
    pub(crate) fn set_pod(&self, pod: Arc<Pod>) {
        {
            let mut state = self.state.lock();
            if spec::revision(&pod) < spec::revision(&state.pod) {
                return;
            }
            state.pod = pod;
        }
        self.wake.notify_one();
    }

    /// The API object is gone.
    pub(crate) fn set_gone(&self) {
        self.state.lock().gone = true;
        self.wake.notify_one();
    }

    /// An object that the Pod refers to has changed.
    pub(crate) fn refresh(&self) {
        self.state.lock().refresh = true;
        self.wake.notify_one();
    }

    /// The API has forgotten the Pod's status.
    pub(crate) fn retell(&self) {
        self.state.lock().retell = true;
        self.wake.notify_one();
    }

    /// A task has found something out.
    pub(crate) fn tell(&self, news: News) {
        self.state.lock().news.push(news);
        self.wake.notify_one();
    }

    /// Something happened in the runtime.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for any of these.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes out what there is.
    pub(crate) fn take(&self) -> Letter {
        let mut state = self.state.lock();
        Letter {
            pod: state.pod.clone(),
            gone: state.gone,
            refresh: std::mem::take(&mut state.refresh),
            retell: std::mem::take(&mut state.retell),
            news: std::mem::take(&mut state.news),
        }
    }

    /// The newest Pod.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.state.lock().pod.clone()
    }

    /// Whether the API object is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    /// Whether the worker has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().finished
    }

    /// The worker has ended.
    pub(crate) fn finish(&self) {
        self.state.lock().finished = true;
    }

    /// Shows what the runtime has.
    pub(crate) fn show(&self, seen: Arc<Seen>) {
        self.state.lock().seen = seen;
    }

    /// What the runtime had at the worker's last look.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        self.state.lock().seen.clone()
    }
}
