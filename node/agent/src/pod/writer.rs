//! Writes a Pod's status: the newest one wins, a burst of changes is one patch, a failed patch is
//! tried again.

use super::spec::{Id, revision};
use super::status::diff;
use crate::statics;
use client::{Client, Patch};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;
use tokio::sync::{Notify, watch};

/// A status in the middle of a burst waits so long for the next one.
const BURST: Duration = Duration::from_millis(100);
/// The first pause after a failed patch.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// The writer of one Pod's status.
pub(crate) struct Writer {
    client: Client,
    id: Id,
    /// Whether the API has only a mirror of the Pod, which comes and goes.
    mirrored: bool,
    shutdown: Shutdown,
    state: Mutex<State>,
    hurry: Notify,
    /// Whether nothing is left to write.
    idle: watch::Sender<bool>,
}

/// What is to be written and what is there.
struct State {
    /// What the API has, with its revision.
    base: (u64, PodStatus),
    wanted: Option<PodStatus>,
    /// What was written last: the server may keep it in another form, and that is no reason to
    /// write again.
    sent: Option<PodStatus>,
    urgent: bool,
    running: bool,
    /// The API object is not ours any more.
    dead: bool,
}

impl Writer {
    /// For a Pod as the API has it.
    pub(crate) fn new(client: Client, id: Id, pod: &Pod, shutdown: Shutdown) -> Arc<Self> {
        let base = (revision(pod), pod.status.clone().unwrap_or_default());
        let state =
            State { base, wanted: None, sent: None, urgent: false, running: false, dead: false };
        Arc::new(Self {
            client,
            id,
            mirrored: statics::is_static(pod),
            shutdown,
            state: Mutex::new(state),
            hurry: Notify::new(),
            idle: watch::Sender::new(true),
        })
    }

    /// The API has this now.
    pub(crate) fn observed(&self, pod: &Pod) {
        let revision = revision(pod);
        let mut state = self.state.lock();
        if revision > state.base.0 {
            state.base = (revision, pod.status.clone().unwrap_or_default());
        }
    }

    /// The API should say this. Not urgent: more is about to come.
    pub(crate) fn write(self: &Arc<Self>, status: PodStatus, urgent: bool) {
        let mut state = self.state.lock();
        let written = state.sent.as_ref() == Some(&status);
        let same = || written || diff(&state.base.1, &status).is_none();
        if state.dead || (!state.running && same()) {
            return;
        }
        state.wanted = Some(status);
        state.urgent |= urgent;
        self.idle.send_replace(false);
        if state.running {
            if urgent {
                self.hurry.notify_one();
            }
            return;
        }
        state.running = true;
        let writer = self.clone();
        let shutdown = self.shutdown.clone();
        stdx::task::spawn("pod-status", async move {
            shutdown.guard(writer.run()).await;
        });
    }

    /// Waits until all that was wanted is written (or cannot be).
    pub(crate) async fn flushed(&self) {
        // The sender lives as long as we do.
        let _ = self.idle.subscribe().wait_for(|idle| *idle).await;
    }

    /// Writes until nothing is left.
    async fn run(self: Arc<Self>) {
        let mut pause = PAUSE;
        loop {
            let Some(urgent) = self.pending() else { return };
            if !urgent {
                tokio::select! {
                    () = tokio::time::sleep(BURST) => {}
                    () = self.hurry.notified() => {}
                }
            }
            let Some((status, patch)) = self.next() else { return };
            let (namespace, name) = (&self.id.namespace, &self.id.name);
            let patch = Patch::Strategic(patch);
            match self.client.patch_status::<Pod>(namespace, name, patch).await {
                Ok(pod) => {
                    pause = PAUSE;
                    self.state.lock().sent = Some(status);
                    self.observed(&pod);
                }
                Err(error) if !self.mirrored && (error.is_not_found() || is_other(&error)) => {
                    return self.die();
                }
                Err(error) if error.retryable() || error.is_not_found() => {
                    tracing::debug!(pod = *name, error = %stdx::chain(&error), "status not written");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
                Err(error) => {
                    tracing::warn!(pod = *name, error = %stdx::chain(&error), "status refused");
                    tokio::time::sleep(LONGEST).await;
                }
            }
        }
    }

    /// Whether what is left to write is urgent; `None`, when nothing is, ends the task.
    fn pending(&self) -> Option<bool> {
        let mut state = self.state.lock();
        if state.wanted.is_some() && state.wanted != state.sent {
            return Some(state.urgent);
        }
        state.running = false;
        self.idle.send_replace(true);
        None
    }

    /// The mirror is a new one and knows nothing.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.base = (0, PodStatus::default());
        state.sent = None;
    }

    /// The next patch; `None` ends the task.
    fn next(&self) -> Option<(PodStatus, serde_json::Value)> {
        let mut state = self.state.lock();
        state.urgent = false;
        let wanted = state.wanted.take().filter(|wanted| state.sent.as_ref() != Some(wanted));
        let patch = wanted.as_ref().and_then(|wanted| diff(&state.base.1, wanted));
        let (Some(wanted), Some(patch)) = (wanted, patch) else {
            state.running = false;
            self.idle.send_replace(true);
            return None;
        };
        // Until it is written, a failure finds it here again.
        state.wanted = Some(wanted.clone());
        let patch = match self.mirrored {
            true => json!({"status": patch}),
            false => json!({"metadata": {"uid": self.id.uid}, "status": patch}),
        };
        Some((wanted, patch))
    }

    /// The Pod is gone or another one of its name is there.
    fn die(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        state.running = false;
        state.wanted = None;
        self.idle.send_replace(true);
    }
}

/// Whether the object of that name is another one: its uid cannot be patched.
fn is_other(error: &client::Error) -> bool {
    matches!(error.code(), 409 | 422) && stdx::chain(error).to_lowercase().contains("uid")
}
