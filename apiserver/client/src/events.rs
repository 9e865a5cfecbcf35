//! Events: what people see of what components do.
//!
//! [`Recorder::event`] never waits and never fails: events go through a bounded queue to a task
//! that correlates repetitions ([`correlate`]) and writes them; when they come faster than they can
//! be written, some are lost. An event with an action is written in the form of events.k8s.io/v1
//! (which demands one), an event without in that of the core group, as upstream's components do.

mod correlate;

use crate::{Client, Error, Kind, Patch};
use correlate::{Correlator, Write};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc};

/// Events that wait to be written; more are lost.
const QUEUE: usize = 4096;
/// Events that are written at the same time.
const WRITES: usize = 8;
/// How often an event is tried to be written.
const TRIES: u32 = 4;
/// The first pause between tries; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// How often old repetitions are closed.
const TIDY: Duration = Duration::from_secs(60);

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// All is well.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// What a component has noticed.
#[derive(Clone, Debug)]
pub(crate) struct Raised {
    /// What it is about.
    pub(crate) regarding: ObjectReference,
    /// How bad it is.
    pub(crate) kind: Type,
    /// One word.
    pub(crate) reason: String,
    /// For people.
    pub(crate) note: String,
    /// What was done; empty for events of the core form.
    pub(crate) action: String,
    /// When.
    pub(crate) at: Timestamp,
}

/// Takes events of one component. Clones write through the same task.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Raised>,
}

impl Recorder {
    /// For a component (`kubelet`, `default-scheduler`, `job-controller`) and an instance of it:
    /// the host for events of the core form, `<component>-<host>` for the others. Must be called
    /// inside a tokio runtime; the task ends with the last clone.
    pub fn new(client: Client, component: &str, instance: &str) -> Self {
        let (queue, raised) = mpsc::channel(QUEUE);
        let correlator = Correlator::new(component, instance);
        stdx::task::spawn("events", run(client, correlator, raised));
        Self { queue }
    }

    /// Records an event.
    pub fn event(
        &self,
        regarding: ObjectReference,
        kind: Type,
        reason: &str,
        note: &str,
        action: &str,
    ) {
        let raised = Raised {
            regarding,
            kind,
            reason: reason.into(),
            note: note.into(),
            action: action.into(),
            at: Timestamp::now(),
        };
        if self.queue.try_send(raised).is_err() {
            tracing::debug!(reason, "event lost: too many at once");
        }
    }

    /// Records an event about an object.
    pub fn about<K: Kind>(&self, object: &K, kind: Type, reason: &str, note: &str, action: &str) {
        self.event(reference(object), kind, reason, note, action);
    }
}

/// A reference to an object.
pub fn reference<K: Kind>(object: &K) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.into()),
        kind: Some(K::KIND.into()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: None,
    }
}

async fn run(client: Client, mut correlator: Correlator, mut raised: mpsc::Receiver<Raised>) {
    let writers = Arc::new(Semaphore::new(WRITES));
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        let writes = tokio::select! {
            one = raised.recv() => match one {
                Some(one) => correlator.take(one).into_iter().collect(),
                None => break,
            },
            _ = tidy.tick() => correlator.tidy(Timestamp::now()),
        };
        for one in writes {
            let Ok(permit) = writers.clone().acquire_owned().await else { return };
            let client = client.clone();
            stdx::task::spawn("event-write", async move {
                write(&client, one).await;
                drop(permit);
            });
        }
    }
}

/// Writes until it is written, refused or given up.
async fn write(client: &Client, mut write: Write) {
    let mut pause = PAUSE;
    for _ in 0..TRIES {
        match attempt(client, &write).await {
            Ok(()) => return,
            // The event to be changed has expired, or is still being created.
            Err(error) if error.is_not_found() && write.patch.is_some() => write.patch = None,
            Err(error) if error.code() == 0 || matches!(error.code(), 429 | 500 | 503 | 504) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => {
                tracing::debug!(error = stdx::chain(&error), "event refused");
                return;
            }
        }
    }
    tracing::debug!(path = write.path, "event given up");
}

async fn attempt(client: &Client, write: &Write) -> Result<(), Error> {
    let written = match &write.patch {
        Some(patch) => {
            let path = format!("{}/{}", write.path, write.name);
            client.patch_path(&path, &Patch::Merge(patch.clone())).await
        }
        None => client.request(Method::POST, &write.path, Some(&write.event)).await,
    };
    match written {
        Err(error) if error.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}
