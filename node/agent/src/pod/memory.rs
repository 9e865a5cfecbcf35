//! What a Pod's worker knows besides the Pod and the runtime's state: delays, failures, probe
//! results, why it ends.

use super::backoff::Backoff;
use crate::clock::{Nanos, SECOND};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The first delay after a sandbox or its volumes could not be made.
const FIRST_RETRY: Nanos = SECOND;
/// The longest such delay.
const LONGEST_RETRY: Nanos = 60 * SECOND;

/// Something that could not be done, and when it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The word of the status.
    pub(crate) reason: String,
    /// The text of the status.
    pub(crate) message: String,
    /// When to try again.
    pub(crate) retry: Nanos,
    /// The delay that led to `retry`.
    pub(crate) delay: Nanos,
}

/// Why a Pod ends before its containers have ended by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody deleted it: the API object waits for us.
    Deleted,
    /// The API object is gone already.
    Gone,
    /// It failed as a whole; reason and message are the status's.
    Failed {
        /// For example `DeadlineExceeded`.
        reason: String,
        /// The sentence.
        message: String,
    },
}

/// A Pod's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Why.
    pub(crate) cause: Cause,
    /// When whatever still runs is killed.
    pub(crate) deadline: Nanos,
}

/// What probes have found out about one running container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    /// The startup probe; `None` while undecided.
    pub(crate) started: Option<bool>,
    /// The readiness probe.
    pub(crate) ready: Option<bool>,
    /// The liveness probe.
    pub(crate) alive: Option<bool>,
    /// Whether the postStart hook failed.
    pub(crate) hook_failed: bool,
}

/// The memory of one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// When the agent first saw the Pod.
    pub(crate) started_at: Nanos,
    /// Delays of containers by name.
    pub(crate) backoff: HashMap<String, Backoff>,
    /// Containers that could not be started, by name.
    pub(crate) failures: HashMap<String, Failure>,
    /// Why the sandbox could not be made.
    pub(crate) trouble: Option<Failure>,
    /// Containers being stopped, by id, with the time they are killed at.
    pub(crate) killing: HashMap<String, Nanos>,
    /// Ids of containers whose postStart hook runs.
    pub(crate) hooks: HashSet<String>,
    /// Results of probes by container id.
    pub(crate) probes: HashMap<String, Results>,
    /// The Pod's addresses.
    pub(crate) ips: Vec<IpAddr>,
    /// Why the Pod ends.
    pub(crate) end: Option<End>,
    /// Whether the node did not take the Pod: its status tells nothing of containers.
    pub(crate) rejected: bool,
    /// Whether network, volumes and sandbox were given back.
    pub(crate) released: bool,
    /// Termination messages by container id.
    pub(crate) messages: HashMap<String, String>,
    /// Containers' statuses that the API had when this worker began.
    pub(crate) before: HashMap<String, ContainerStatus>,
}

impl Memory {
    /// The memory of a new worker: what an earlier agent told the API is taken up.
    pub(crate) fn new(pod: &Pod, now: Nanos) -> Self {
        let status = pod.status.as_ref();
        let started_at = status.and_then(|status| status.start_time.as_ref());
        let lists = status.into_iter().flat_map(|status| {
            let mains = status.container_statuses.iter().flatten();
            let inits = status.init_container_statuses.iter().flatten();
            mains.chain(inits).chain(status.ephemeral_container_statuses.iter().flatten())
        });
        Self {
            started_at: started_at.map_or(now, |time| crate::clock::nanos(time.0)),
            before: lists.map(|one| (one.name.clone(), one.clone())).collect(),
            ..Self::default()
        }
    }

    /// Raises the delay of a container that starts once more.
    pub(crate) fn raise(&mut self, name: &str, now: Nanos) {
        let next = Backoff::next(self.backoff.get(name).copied(), now);
        self.backoff.insert(name.to_owned(), next);
    }

    /// Remembers that a container could not be started.
    pub(crate) fn fail(&mut self, name: &str, reason: &str, message: String, now: Nanos) {
        self.raise(name, now);
        let delay = self.backoff.get(name).map_or(0, |backoff| backoff.delay);
        let failure = Failure { reason: reason.into(), message, retry: now + delay, delay };
        self.failures.insert(name.to_owned(), failure);
    }

    /// Remembers that a container's process could not be made. The instance has ended, so the delay
    /// is that of a crash: none before the second start. The reason is shown for a moment only.
    pub(crate) fn fail_start(
        &mut self,
        name: &str,
        attempt: u32,
        reason: &str,
        message: String,
        now: Nanos,
    ) {
        if attempt > 0 {
            self.raise(name, now);
        }
        let failure = Failure {
            reason: reason.into(),
            message,
            retry: now + FIRST_RETRY,
            delay: FIRST_RETRY,
        };
        self.failures.insert(name.to_owned(), failure);
    }

    /// Remembers that the sandbox could not be made.
    pub(crate) fn stumble(&mut self, reason: &str, message: String, now: Nanos) {
        let before = self.trouble.as_ref().map_or(FIRST_RETRY / 2, |trouble| trouble.delay);
        let delay = (before * 2).min(LONGEST_RETRY);
        self.trouble = Some(Failure { reason: reason.into(), message, retry: now + delay, delay });
    }

    /// An object that the Pod refers to has changed: what failed for want of it may be tried at
    /// once.
    pub(crate) fn hurry(&mut self, now: Nanos) {
        for failure in self.failures.values_mut().chain(&mut self.trouble) {
            if matches!(failure.reason.as_str(), "CreateContainerConfigError" | "FailedMount") {
                failure.retry = failure.retry.min(now);
            }
        }
    }

    /// How often a container was started before, when the runtime has forgotten it.
    pub(crate) fn attempts(&self, name: &str) -> u32 {
        let before = self.before.get(name).filter(|status| status.container_id.is_some());
        before.map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0) + 1)
    }
}
