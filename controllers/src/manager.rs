//! Runs the controllers: one queue and some workers for each reconciler, one task for each loop.

use crate::{
    apps, batch, certificates,
    config::Config,
    core,
    ctx::{Action, Ctx, Key},
    error::Error,
    gc, network, node, policy, rbac, storage,
    watch::Watch,
};
use client::{Client, Informers, queue::Queue};
use futures::{FutureExt, future::BoxFuture};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use stdx::Shutdown;
use tokio::task::JoinSet;

/// How soon a key is looked at again whose writes the caches have not shown yet.
const UNSETTLED: Duration = Duration::from_millis(20);

/// What a controller is.
pub struct Controller {
    /// Upstream's canonical name.
    pub name: &'static str,
    /// Its name in events.
    pub component: &'static str,
    /// The ServiceAccount in kube-system that it acts as, with the rights of the bootstrap role of that name; `None`
    /// acts as the controllers' own user.
    pub account: Option<&'static str>,
    /// How it works.
    pub(crate) kind: Kind,
}

/// A running loop.
pub(crate) type Running = BoxFuture<'static, Result<(), Error>>;
/// A running reconciliation.
pub(crate) type Reconciling = BoxFuture<'static, Result<Action, Error>>;

/// How a controller works.
pub(crate) enum Kind {
    /// Key by key.
    Reconciler {
        /// Says which changes concern it.
        watch: fn(&mut Watch<'_>),
        /// Drives one object.
        reconcile: fn(Arc<Ctx>, Key) -> Reconciling,
    },
    /// In a loop of its own.
    Loop {
        /// Starts the informers it needs.
        watch: fn(&mut Watch<'_>),
        /// Runs until told to stop.
        run: fn(Arc<Ctx>, Shutdown) -> Running,
    },
}

impl Kind {
    fn watch(&self) -> fn(&mut Watch<'_>) {
        match self {
            Self::Reconciler { watch, .. } | Self::Loop { watch, .. } => *watch,
        }
    }
}

/// Every controller. The order has no meaning: they start together.
pub const CONTROLLERS: &[&Controller] = &[
    &apps::deployment::DEF,
    &apps::replicaset::DEF,
    &apps::replicationcontroller::DEF,
    &apps::daemonset::DEF,
    &apps::statefulset::DEF,
    &batch::job::DEF,
    &batch::cronjob::DEF,
    &batch::ttl_after_finished::DEF,
    &network::endpoints::DEF,
    &network::endpointslice::DEF,
    &network::endpointslice_mirroring::DEF,
    &network::servicecidr::DEF,
    &core::namespace::DEF,
    &core::serviceaccount::DEF,
    &core::serviceaccount_token::DEF,
    &core::root_ca_certificate_publisher::DEF,
    &core::pod_garbage_collector::DEF,
    &core::persistentvolumeclaim_protection::DEF,
    &core::persistentvolume_protection::DEF,
    &core::resourcequota::DEF,
    &node::ipam::DEF,
    &node::lifecycle::DEF,
    &node::taint_eviction::DEF,
    &node::ttl::DEF,
    &gc::DEF,
    &storage::persistentvolume_binder::DEF,
    &storage::persistentvolume_expander::DEF,
    &storage::ephemeral_volume::DEF,
    &policy::disruption::DEF,
    &rbac::clusterrole_aggregation::DEF,
    &certificates::csr_approving::DEF,
    &certificates::csr_signing::DEF,
    &certificates::csr_cleaner::DEF,
];

/// Asks for the informers that [`run`] needs, so that a standby has them filled when its turn
/// comes.
pub fn warm(informers: &Informers) {
    for controller in CONTROLLERS {
        controller.kind.watch()(&mut Watch::warm(informers));
    }
}

/// Runs the controllers until told to stop. Called only while this replica leads, with the client
/// of that term.
pub async fn run(
    config: Config,
    client: Client,
    informers: Informers,
    shutdown: Shutdown,
) -> Result<(), Error> {
    if config.concurrency == 0 {
        return Err(Error::Config("the concurrency must be above 0".into()));
    }
    if shutdown.guard(healthy(&client)).await.is_none() {
        return Ok(());
    }
    let config = Arc::new(config);
    let mut tasks = JoinSet::new();
    for controller in CONTROLLERS {
        let name = controller.name;
        let client =
            controller.account.map_or_else(|| client.clone(), |name| account(&client, name));
        let ctx = Ctx::new(name, controller.component, &client, &informers, &config);
        tasks.spawn(start(controller, Arc::new(ctx), informers.clone(), shutdown.clone()));
    }
    tracing::info!(controllers = CONTROLLERS.len(), "controllers running");
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.unwrap_or_else(|_| Err(Error::State("panicked".into()))) {
            tracing::error!(error = stdx::chain(&error), "controller ended");
        }
    }
    tracing::info!("controllers stopped");
    Ok(())
}

/// Until the API server says that it is healthy: before that the roles of the controllers may be missing, and what
/// is refused them would be tried again late.
async fn healthy(client: &Client) {
    while client.text("/healthz").await.is_err() {
        tokio::time::sleep(UNSETTLED).await;
    }
}

/// The client of a controller's ServiceAccount.
fn account(client: &Client, name: &str) -> Client {
    client.acting_as(&format!("system:serviceaccount:kube-system:{name}"))
}

async fn start(
    controller: &'static Controller,
    ctx: Arc<Ctx>,
    informers: Informers,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let queue = Arc::new(Queue::default());
    let (synced, fills) = {
        let mut watch = match controller.kind {
            Kind::Reconciler { .. } => Watch::feed(&ctx, &informers, &queue, &shutdown),
            Kind::Loop { .. } => Watch::warm(&informers),
        };
        controller.kind.watch()(&mut watch);
        (watch.synced, watch.fills)
    };
    if shutdown.guard(futures::future::join_all(synced)).await.is_none() {
        return Ok(());
    }
    for fill in fills {
        fill();
    }
    match controller.kind {
        Kind::Loop { run, .. } => run(ctx, shutdown).await,
        Kind::Reconciler { reconcile, .. } => {
            let mut workers = JoinSet::new();
            for _ in 0..ctx.config.concurrency {
                workers.spawn(work(ctx.clone(), queue.clone(), reconcile, shutdown.clone()));
            }
            while workers.join_next().await.is_some() {}
            Ok(())
        }
    }
}

/// Takes keys from the queue until told to stop. A panic costs its key's turn, not the worker.
async fn work(
    ctx: Arc<Ctx>,
    queue: Arc<Queue<Key>>,
    reconcile: fn(Arc<Ctx>, Key) -> Reconciling,
    shutdown: Shutdown,
) {
    while let Some(Some(key)) = shutdown.guard(queue.get()).await {
        if ctx.settled(&key) {
            let running = AssertUnwindSafe(reconcile(ctx.clone(), key.clone())).catch_unwind();
            let Some(ended) = shutdown.guard(running).await else { return };
            let ended = ended.unwrap_or_else(|_| Err(Error::State("panicked".into())));
            settle(&ctx, &queue, &key, ended);
        } else {
            queue.add_after(key.clone(), UNSETTLED);
        }
        queue.done(&key);
    }
}

/// Queues a key again as its reconciliation asks, and logs its error.
fn settle(ctx: &Ctx, queue: &Queue<Key>, key: &Key, ended: Result<Action, Error>) {
    match ended {
        Ok(Action::Done) => queue.forget(key),
        Ok(Action::After(wait)) => {
            queue.forget(key);
            queue.add_after(key.clone(), wait);
        }
        Err(error) => {
            let text = stdx::chain(&error);
            if error.is_expected() {
                tracing::debug!(controller = ctx.name, %key, error = text, "trying again");
            } else {
                tracing::warn!(controller = ctx.name, %key, error = text, "reconciliation failed");
            }
            queue.add_rate_limited(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CONTROLLERS;
    use std::collections::HashSet;

    #[test]
    fn every_controller_has_its_own_name() {
        let names: HashSet<_> = CONTROLLERS.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), CONTROLLERS.len());
    }
}
