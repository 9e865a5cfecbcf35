//! Shared caches of objects, kept up to date by one watch each.
//!
//! There is one [`Informer`] per kind and selection in a process, however many ask for it. Its
//! cache is filled once; from then on it resumes its watch at the revision that it has seen, at
//! whatever master answers, and lists again only when the server has forgotten that revision.
//!
//! Example: a controller that has just created a Pod calls [`Informer::wrote`] with the answer. Its
//! next look at that key asks [`Informer::settled`] first: `false` means the cache is older than
//! its own write, and it comes back later instead of creating a second Pod.
//!
//! Objects come without `managedFields`: nobody who reads a cache needs them, and they are large.
//! (An update without them leaves them as they are.)

mod cache;
mod reflector;

use crate::{Client, Kind, Partial, Resource, watch::METADATA};
use cache::Cache;
use parking_lot::Mutex;
use reflector::Reflector;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};
use stdx::Shutdown;

/// Which objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Of one namespace; empty for all.
    pub namespace: String,
    /// With these labels; empty for all.
    pub labels: String,
    /// With these fields; empty for all.
    pub fields: String,
}

/// What happened to an object.
#[derive(Debug)]
pub enum Change<K> {
    /// It is new.
    Added(Arc<K>),
    /// It has changed.
    Updated {
        /// As it was.
        old: Arc<K>,
        /// As it is.
        new: Arc<K>,
    },
    /// It is gone; this is how it was known last.
    Deleted(Arc<K>),
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(object.clone()),
            Self::Updated { old, new } => Self::Updated { old: old.clone(), new: new.clone() },
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

impl<K> Change<K> {
    /// The object, as it is or was known last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Updated { new: object, .. } | Self::Deleted(object) => {
                object
            }
        }
    }
}

/// What makes an informer the same as another.
type Key = (TypeId, Resource, Selection);

/// All informers of a process.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    shutdown: Shutdown,
    all: Arc<Mutex<HashMap<Key, Running>>>,
}

/// One of them.
struct Running {
    /// An `Arc<Cache<K>>` of the key's type.
    cache: Box<dyn Any + Send + Sync>,
    shutdown: Shutdown,
}

impl Informers {
    /// None yet. All end with `shutdown`.
    pub fn new(client: Client, shutdown: Shutdown) -> Self {
        Self { client, shutdown, all: Arc::default() }
    }

    /// All objects of a kind.
    pub fn of<K: Kind>(&self) -> Informer<K> {
        self.selected(Selection::default())
    }

    /// Some objects of a kind.
    pub fn selected<K: Kind>(&self, selection: Selection) -> Informer<K> {
        self.get(K::resource(), selection, None)
    }

    /// The metadata of all objects of any resource.
    pub fn metadata(&self, resource: &Resource) -> Informer<Partial> {
        self.get(resource.clone(), Selection::default(), Some(METADATA))
    }

    /// Ends the metadata informer of a resource that is no longer served.
    pub fn forget_metadata(&self, resource: &Resource) {
        let key = (TypeId::of::<Partial>(), resource.clone(), Selection::default());
        if let Some(running) = self.all.lock().remove(&key) {
            running.shutdown.trigger();
        }
    }

    /// The client that the informers watch with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn get<K: Kind>(
        &self,
        resource: Resource,
        selection: Selection,
        accept: Option<&'static str>,
    ) -> Informer<K> {
        let key = (TypeId::of::<K>(), resource.clone(), selection.clone());
        let mut all = self.all.lock();
        if let Some(running) = all.get(&key)
            && let Some(cache) = running.cache.downcast_ref::<Arc<Cache<K>>>()
        {
            return Informer { cache: cache.clone() };
        }
        let cache = Arc::new(Cache::new());
        let shutdown = self.shutdown.child();
        let reflector =
            Reflector::new(self.client.clone(), resource, selection, accept, cache.clone());
        let stop = shutdown.clone();
        stdx::task::spawn("informer", async move {
            stop.guard(reflector.run()).await;
        });
        all.insert(key, Running { cache: Box::new(cache.clone()), shutdown });
        Informer { cache }
    }
}

/// A shared cache of a kind's objects. Clones are the same cache.
pub struct Informer<K> {
    cache: Arc<Cache<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone() }
    }
}

impl<K: Kind> Informer<K> {
    /// Waits until the cache has been filled.
    pub async fn synced(&self) {
        self.cache.synced().await;
    }

    /// Whether the cache has been filled.
    pub fn has_synced(&self) -> bool {
        self.cache.has_synced()
    }

    /// All objects.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.cache.list()
    }

    /// All objects of a namespace.
    pub fn list_ns(&self, namespace: &str) -> Vec<Arc<K>> {
        self.cache.list_ns(namespace)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.cache.get(namespace, name)
    }

    /// Calls `f` with every change from now on, after the cache has taken it in, one at a time.
    /// Call it first and [`Self::list`] then: a change in between may come twice, but none is
    /// lost. `f` must not wait.
    pub fn on_event(&self, f: impl Fn(Change<K>) + Send + Sync + 'static) {
        self.cache.on_event(None, Arc::new(f));
    }

    /// As [`Self::on_event`], until `shutdown`: for those who come and go with a leader's term.
    pub fn on_event_until(
        &self,
        shutdown: &Shutdown,
        f: impl Fn(Change<K>) + Send + Sync + 'static,
    ) {
        self.cache.on_event(Some(shutdown.clone()), Arc::new(f));
    }

    /// Keeps an index: which keys an object is found by. Asking for one that exists changes
    /// nothing.
    pub fn index(&self, name: &'static str, keys: fn(&K) -> Vec<String>) {
        self.cache.index(name, keys);
    }

    /// The objects that an index finds by a key, in no order.
    pub fn by_index(&self, name: &str, key: &str) -> Vec<Arc<K>> {
        self.cache.by_index(name, key)
    }

    /// Remembers a write of our own: the answer to a create, update or patch.
    pub fn wrote(&self, object: &K) {
        self.cache.wrote(object);
    }

    /// Remembers that we have deleted an object.
    pub fn deleted(&self, object: &K) {
        self.cache.deleted(object);
    }

    /// Whether the cache has our last write to an object. `true` for what we didn't write.
    pub fn settled(&self, namespace: &str, name: &str) -> bool {
        self.cache.settled(namespace, name)
    }

    /// Waits until [`Self::settled`].
    pub async fn until_settled(&self, namespace: &str, name: &str) {
        self.cache.until_settled(namespace, name).await;
    }

    /// The revision up to which the cache is known to be complete.
    pub fn revision(&self) -> u64 {
        self.cache.seen()
    }
}

/// The revision of an object; 0 when it says none.
pub(crate) fn revision_of<K: Kind>(object: &K) -> u64 {
    object.metadata().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
