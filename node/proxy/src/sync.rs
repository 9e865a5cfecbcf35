//! The loop: which Services have changed, and the transaction that follows.

use crate::state::State;
use crate::{Config, Error, HostPorts, plan};
use client::{Change, Informer, Informers};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stdx::Shutdown;
use tokio::sync::Notify;

/// Label of a slice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Name of the index of slices by their Service.
const BY_SERVICE: &str = "service";
/// Changes gather for so long: a rollout touches one Service many times.
const GATHER: Duration = Duration::from_millis(5);
/// How often the table is looked at.
const AUDIT: Duration = Duration::from_secs(30);
/// How long to wait after the kernel has refused a change.
const RETRY: Duration = Duration::from_secs(1);

/// Services that have changed.
#[derive(Default)]
pub(crate) struct Dirty {
    names: Mutex<BTreeSet<Arc<str>>>,
    changed: Notify,
}

impl Dirty {
    /// Marks a Service.
    pub(crate) fn add(&self, name: String) {
        self.names.lock().insert(name.into());
        self.changed.notify_one();
    }

    /// Takes all marks.
    fn take(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut *self.names.lock())
    }

    /// Puts marks back.
    fn put_back(&self, names: BTreeSet<Arc<str>>) {
        self.names.lock().extend(names);
        self.changed.notify_one();
    }
}

/// The proxy at work.
struct Sync {
    config: Config,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    host_ports: HostPorts,
    dirty: Arc<Dirty>,
}

/// Proxies Services until the shutdown. The table stays, so that Services go on working meanwhile.
///
/// Must be called on a thread of the network namespace that it shall act on.
pub async fn run(
    config: Config,
    informers: Informers,
    host_ports: HostPorts,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let mut state = State::open(config.clone())?;
    let sync = Sync {
        config,
        services: informers.of::<Service>(),
        slices: informers.of::<EndpointSlice>(),
        dirty: host_ports.dirty.clone(),
        host_ports,
    };
    sync.slices.index(BY_SERVICE, |slice| service_of(slice).into_iter().collect());
    sync.follow(&shutdown);
    let synced = async {
        sync.services.synced().await;
        sync.slices.synced().await;
    };
    if shutdown.guard(synced).await.is_none() {
        return Ok(());
    }
    let mut due: BTreeSet<Arc<str>> =
        sync.services.list().iter().map(|service| name_of(service).into()).collect();
    due.extend(sync.host_ports.names());
    let mut audit = tokio::time::interval(AUDIT);
    audit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    audit.reset();
    // The first round replaces an older table, even when there are no Services.
    let mut first = true;
    loop {
        due.extend(sync.dirty.take());
        if first || !due.is_empty() {
            (state, first) = sync.round(state, std::mem::take(&mut due), first).await?;
            if first {
                shutdown.guard(tokio::time::sleep(RETRY)).await;
            }
        }
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            () = sync.dirty.changed.notified() => tokio::time::sleep(GATHER).await,
            _ = audit.tick() => state = sync.audited(state).await?,
        }
    }
}

impl Sync {
    /// Marks Services when they or their slices change.
    fn follow(&self, shutdown: &Shutdown) {
        let dirty = self.dirty.clone();
        self.services.on_event_until(shutdown, move |change: Change<Service>| {
            dirty.add(name_of(change.object()));
        });
        let dirty = self.dirty.clone();
        self.slices.on_event_until(shutdown, move |change: Change<EndpointSlice>| {
            if let Change::Updated { old, .. } = &change
                && let Some(name) = service_of(old)
            {
                dirty.add(name);
            }
            if let Some(name) = service_of(change.object()) {
                dirty.add(name);
            }
        });
    }

    /// Brings some Services up to date. Tells whether everything is to be done again.
    async fn round(
        &self,
        state: State,
        due: BTreeSet<Arc<str>>,
        first: bool,
    ) -> Result<(State, bool), Error> {
        let wanted: BTreeMap<Arc<str>, plan::Wanted> =
            due.iter().map(|name| (name.clone(), self.wanted(name))).collect();
        let count = wanted.len();
        let (state, applied) = blocking(state, move |state| state.apply(&wanted)).await?;
        match applied {
            Ok(()) => {
                if first {
                    tracing::info!(services = state.services().len(), "services are proxied");
                } else {
                    tracing::debug!(services = count, "services changed");
                }
                Ok((state, false))
            }
            Err(error) => {
                tracing::error!(error = stdx::chain(&error), "services not changed, trying again");
                self.dirty.put_back(due);
                Ok((state, true))
            }
        }
    }

    /// Looks after the table.
    async fn audited(&self, state: State) -> Result<State, Error> {
        let (state, audited) = blocking(state, State::audit).await?;
        if let Err(error) = audited {
            tracing::error!(error = stdx::chain(&error), "table not looked at");
        }
        Ok(state)
    }

    /// What a Service wants now; nothing when it is gone.
    fn wanted(&self, name: &str) -> plan::Wanted {
        if let Some(wanted) = self.host_ports.wanted(name) {
            return wanted;
        }
        let (namespace, plain) = name.split_once('/').unwrap_or(("", name));
        match self.services.get(namespace, plain) {
            Some(service) => {
                let slices = self.slices.by_index(BY_SERVICE, name);
                plan::wanted(&service, &slices, &self.config.node_name)
            }
            None => plan::Wanted::default(),
        }
    }
}

/// Runs work that waits for the kernel where it disturbs nobody.
async fn blocking<T: Send + 'static>(
    mut state: State,
    work: impl FnOnce(&mut State) -> T + Send + 'static,
) -> Result<(State, T), Error> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut state);
        (state, result)
    });
    done.await.map_err(|_| Error::Task)
}

/// `namespace/name` of a Service.
fn name_of(service: &Service) -> String {
    let meta = &service.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.namespace), part(&meta.name))
}

/// `namespace/name` of the Service that a slice belongs to.
fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{namespace}/{name}"))
}

#[cfg(test)]
mod tests;
