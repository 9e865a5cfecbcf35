//! How a reconciler says which changes concern it: a change of an object names the keys to look at.

use crate::{
    ctx::{Ctx, Key},
    owners,
};
use client::{Change, Informer, Informers, Kind, Partial, Resource, queue::Queue};
use futures::future::BoxFuture;
use std::sync::{Arc, Weak};
use stdx::Shutdown;

/// A reconciler's queue and the informers that feed it.
pub(crate) struct Watch<'a> {
    informers: &'a Informers,
    /// Nothing is fed when only the informers are to be started.
    queue: Option<Weak<Queue<Key>>>,
    ctx: Option<Weak<Ctx>>,
    /// Ends the feeding.
    shutdown: Shutdown,
    /// Waits for the informers asked for.
    pub(crate) synced: Vec<BoxFuture<'static, ()>>,
    /// Feeds what is there already; run after the informers are filled.
    pub(crate) fills: Vec<Box<dyn FnOnce() + Send>>,
}

impl<'a> Watch<'a> {
    /// Only starts informers.
    pub(crate) fn warm(informers: &'a Informers) -> Self {
        Self {
            informers,
            queue: None,
            ctx: None,
            shutdown: Shutdown::new(),
            synced: Vec::new(),
            fills: Vec::new(),
        }
    }

    /// Feeds a queue.
    pub(crate) fn feed(
        ctx: &Arc<Ctx>,
        informers: &'a Informers,
        queue: &Arc<Queue<Key>>,
        shutdown: &Shutdown,
    ) -> Self {
        let (queue, ctx) = (Some(Arc::downgrade(queue)), Some(Arc::downgrade(ctx)));
        let shutdown = shutdown.clone();
        Self { informers, queue, ctx, shutdown, synced: Vec::new(), fills: Vec::new() }
    }

    /// Reads a kind without following it.
    pub(crate) fn reads<K: Kind>(&mut self) -> Informer<K> {
        let informer = self.informers.of::<K>();
        let waiting = informer.clone();
        self.synced.push(Box::pin(async move { waiting.synced().await }));
        informer
    }

    /// Starts the informer of a resource's metadata.
    pub(crate) fn metadata(&mut self, resource: &Resource) -> Informer<Partial> {
        let informer = self.informers.metadata(resource);
        let waiting = informer.clone();
        self.synced.push(Box::pin(async move { waiting.synced().await }));
        informer
    }

    /// An object of a resource that comes or goes names the keys that `keys` finds for its
    /// namespace.
    pub(crate) fn comes_and_goes(
        &mut self,
        resource: &Resource,
        keys: impl Fn(&Ctx, &str) -> Vec<Key> + Send + Sync + 'static,
    ) {
        let informer = self.metadata(resource);
        let (Some(queue), Some(ctx)) = (self.queue.clone(), self.ctx.clone()) else { return };
        informer.on_event_until(&self.shutdown, move |change| {
            let (Change::Added(object) | Change::Deleted(object)) = change else { return };
            let (Some(queue), Some(ctx)) = (queue.upgrade(), ctx.upgrade()) else { return };
            for key in keys(&ctx, object.metadata.namespace.as_deref().unwrap_or_default()) {
                queue.add(key);
            }
        });
    }

    /// Every change of an object of this kind names its own key.
    pub(crate) fn own<K: Kind>(&mut self) {
        self.maps::<K>(|_, object| vec![Key::of(object)]);
    }

    /// A change names the object's controller, if it is of this kind; losing it names the lost one
    /// too.
    pub(crate) fn owned<K: Kind>(&mut self, kind: &'static str) {
        self.maps::<K>(move |_, object| {
            let owner = owners::controller(object.metadata());
            let owner = owner.filter(|owner| owner.kind == kind);
            let namespace = object.metadata().namespace.as_deref().unwrap_or_default();
            owner.map(|owner| Key::new(namespace, &owner.name)).into_iter().collect()
        });
    }

    /// A change names the keys that `keys` finds for the object before and after.
    pub(crate) fn maps<K: Kind>(
        &mut self,
        keys: impl Fn(&Ctx, &K) -> Vec<Key> + Send + Sync + 'static,
    ) {
        self.changes::<K>(move |ctx, old, new| {
            let mut found = old.map(|old| keys(ctx, old)).unwrap_or_default();
            for key in new.map(|new| keys(ctx, new)).unwrap_or_default() {
                if !found.contains(&key) {
                    found.push(key);
                }
            }
            found
        });
    }

    /// A change names the keys that `keys` finds for both states (the first is absent for a new
    /// object, the second for a deleted one).
    pub(crate) fn changes<K: Kind>(
        &mut self,
        keys: impl Fn(&Ctx, Option<&K>, Option<&K>) -> Vec<Key> + Send + Sync + 'static,
    ) {
        let informer = self.reads::<K>();
        let (Some(queue), Some(ctx)) = (self.queue.clone(), self.ctx.clone()) else { return };
        let keys = Arc::new(keys);
        let (for_fill, queue_of_fill, ctx_of_fill) = (keys.clone(), queue.clone(), ctx.clone());
        let add =
            move |queue: &Weak<Queue<Key>>, ctx: &Weak<Ctx>, old: Option<&K>, new: Option<&K>| {
                let (Some(queue), Some(ctx)) = (queue.upgrade(), ctx.upgrade()) else { return };
                for key in keys(&ctx, old, new) {
                    queue.add(key);
                }
            };
        informer.on_event_until(&self.shutdown, move |change| match &change {
            Change::Added(new) => add(&queue, &ctx, None, Some(&**new)),
            Change::Updated { old, new } => add(&queue, &ctx, Some(&**old), Some(&**new)),
            Change::Deleted(old) => add(&queue, &ctx, Some(&**old), None),
        });
        self.fills.push(Box::new(move || {
            let (Some(queue), Some(ctx)) = (queue_of_fill.upgrade(), ctx_of_fill.upgrade()) else {
                return;
            };
            for object in informer.list() {
                for key in for_fill(&ctx, None, Some(&*object)) {
                    queue.add(key);
                }
            }
        }));
    }
}
