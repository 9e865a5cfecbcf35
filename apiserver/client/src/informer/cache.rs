//! The objects of an informer, its indexes, its handlers, and what we wrote ourselves.

use super::{Change, revision_of};
use crate::Kind;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use stdx::Shutdown;
use tokio::sync::{Notify, watch};

/// Gets changes.
type Handler<K> = Arc<dyn Fn(Change<K>) + Send + Sync>;

/// What an informer knows.
pub(super) struct Cache<K> {
    objects: RwLock<Objects<K>>,
    handlers: RwLock<Vec<(Option<Shutdown>, Handler<K>)>>,
    /// Every change up to this revision was taken in.
    seen: AtomicU64,
    /// The revision has moved.
    moved: Notify,
    synced: watch::Sender<bool>,
    /// What we wrote, and the cache has not shown yet.
    writes: Mutex<HashMap<(String, String), Write>>,
}

/// A write of our own.
enum Write {
    /// The object has this revision.
    Revision(u64),
    /// The object with this uid is going or gone.
    Deleted(Option<String>),
}

/// Objects by namespace and name.
struct Objects<K> {
    all: HashMap<String, HashMap<String, Arc<K>>>,
    indexes: Vec<Index<K>>,
}

/// Objects by the keys that a function gives them, told apart by their address.
struct Index<K> {
    name: &'static str,
    keys: fn(&K) -> Vec<String>,
    found: HashMap<String, HashMap<usize, Arc<K>>>,
}

impl<K> Index<K> {
    fn add(&mut self, object: &Arc<K>) {
        for key in (self.keys)(object) {
            let address = Arc::as_ptr(object) as usize;
            self.found.entry(key).or_default().insert(address, object.clone());
        }
    }

    fn remove(&mut self, object: &Arc<K>) {
        for key in (self.keys)(object) {
            let Some(found) = self.found.get_mut(&key) else { continue };
            found.remove(&(Arc::as_ptr(object) as usize));
            if found.is_empty() {
                self.found.remove(&key);
            }
        }
    }
}

impl<K: Kind> Objects<K> {
    fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.all.get(namespace)?.get(name)
    }

    /// Puts an object in; the one that was there comes back.
    fn put(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        let (namespace, name) = name_of(&*object);
        let old = match self.all.get_mut(namespace) {
            Some(names) => names.insert(name.to_owned(), object.clone()),
            None => {
                let names = HashMap::from([(name.to_owned(), object.clone())]);
                self.all.insert(namespace.to_owned(), names);
                None
            }
        };
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(old);
            }
            index.add(&object);
        }
        old
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let names = self.all.get_mut(namespace)?;
        let old = names.remove(name)?;
        if names.is_empty() {
            self.all.remove(namespace);
        }
        for index in &mut self.indexes {
            index.remove(&old);
        }
        Some(old)
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.all.values().flat_map(HashMap::values)
    }
}

/// Namespace and name of an object.
fn name_of<K: Kind>(object: &K) -> (&str, &str) {
    let metadata = object.metadata();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    (namespace, metadata.name.as_deref().unwrap_or_default())
}

fn key_of<K: Kind>(object: &K) -> (String, String) {
    let (namespace, name) = name_of(object);
    (namespace.to_owned(), name.to_owned())
}

impl<K: Kind> Cache<K> {
    pub(super) fn new() -> Self {
        Self {
            objects: RwLock::new(Objects { all: HashMap::new(), indexes: Vec::new() }),
            handlers: RwLock::default(),
            seen: AtomicU64::new(0),
            moved: Notify::new(),
            synced: watch::Sender::new(false),
            writes: Mutex::default(),
        }
    }

    pub(super) async fn synced(&self) {
        // The sender lives as long as this borrow: waiting can't fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    pub(super) fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.objects.read().iter().cloned().collect()
    }

    pub(super) fn list_ns(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        objects
            .all
            .get(namespace)
            .map(|names| names.values().cloned().collect())
            .unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.read().all.values().map(HashMap::len).sum()
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.objects.read().get(namespace, name).cloned()
    }

    pub(super) fn on_event(&self, until: Option<Shutdown>, handler: Handler<K>) {
        self.handlers.write().push((until, handler));
    }

    pub(super) fn index(&self, name: &'static str, keys: fn(&K) -> Vec<String>) {
        let mut objects = self.objects.write();
        if objects.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Index { name, keys, found: HashMap::new() };
        objects.iter().for_each(|object| index.add(object));
        objects.indexes.push(index);
    }

    pub(super) fn by_index(&self, name: &str, key: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        let index = objects.indexes.iter().find(|index| index.name == name);
        let found = index.and_then(|index| index.found.get(key));
        found.map(|found| found.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn wrote(&self, object: &K) {
        let revision = revision_of(object);
        let mut writes = self.writes.lock();
        match writes.get(&key_of(object)) {
            Some(Write::Revision(newer)) if *newer >= revision => {}
            _ => {
                writes.insert(key_of(object), Write::Revision(revision));
            }
        }
    }

    pub(super) fn deleted(&self, object: &K) {
        let uid = object.metadata().uid.clone();
        self.writes.lock().insert(key_of(object), Write::Deleted(uid));
    }

    pub(super) fn settled(&self, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        let mut writes = self.writes.lock();
        let Some(write) = writes.get(&key) else { return true };
        let cached = self.get(namespace, name);
        let there = match (write, &cached) {
            (Write::Revision(revision), cached) => {
                let of_object = cached.as_ref().map_or(0, |object| revision_of(&**object));
                self.seen().max(of_object) >= *revision
            }
            (Write::Deleted(_), None) => true,
            (Write::Deleted(uid), Some(object)) => {
                let metadata = object.metadata();
                metadata.uid != *uid || metadata.deletion_timestamp.is_some()
            }
        };
        if there {
            writes.remove(&key);
        }
        there
    }

    pub(super) async fn until_settled(&self, namespace: &str, name: &str) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.settled(namespace, name) {
                return;
            }
            moved.await;
        }
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Everything up to a revision was taken in.
    pub(super) fn advance(&self, revision: u64) {
        if self.seen.fetch_max(revision, Ordering::AcqRel) < revision {
            self.moved.notify_waiters();
        }
    }

    /// Takes an object in, unless a newer state of it is there.
    pub(super) fn put(&self, object: K) {
        let object = Arc::new(object);
        let revision = revision_of(&*object);
        let old = {
            let mut objects = self.objects.write();
            let (namespace, name) = name_of(&*object);
            let known = objects.get(namespace, name);
            if known.is_some_and(|known| revision != 0 && revision_of(&**known) >= revision) {
                return;
            }
            objects.put(object.clone())
        };
        self.advance(revision);
        self.tell(difference(old, object));
    }

    /// Drops an object that is gone.
    pub(super) fn remove(&self, object: &K) {
        let (namespace, name) = name_of(object);
        let old = self.objects.write().remove(namespace, name);
        self.advance(revision_of(object));
        if let Some(old) = old {
            self.tell(Change::Deleted(old));
        }
    }

    /// Replaces everything by what the server has at a revision.
    pub(super) fn replace(&self, fresh: Vec<K>, revision: u64) {
        let mut changes = Vec::new();
        {
            let mut objects = self.objects.write();
            let mut gone: HashSet<_> = objects.iter().map(|object| key_of(&**object)).collect();
            for object in fresh {
                let (namespace, name) = name_of(&object);
                gone.remove(&(namespace.to_owned(), name.to_owned()));
                let known = objects.get(namespace, name);
                if known.is_some_and(|known| same_state(&**known, &object)) {
                    continue;
                }
                let object = Arc::new(object);
                match objects.put(object.clone()) {
                    Some(old) if old.metadata().uid != object.metadata().uid => {
                        changes.push(Change::Deleted(old));
                        changes.push(Change::Added(object));
                    }
                    old => changes.push(difference(old, object)),
                }
            }
            for (namespace, name) in gone {
                changes.extend(objects.remove(&namespace, &name).map(Change::Deleted));
            }
        }
        self.advance(revision);
        for change in changes {
            self.tell(change);
        }
        self.synced.send_replace(true);
        self.moved.notify_waiters();
    }

    /// Tells the handlers. No lock is held meanwhile: a handler may read this cache, and may wait
    /// for a lock whose holder does.
    fn tell(&self, change: Change<K>) {
        let handlers = self.handlers.read();
        let mut live = Vec::with_capacity(handlers.len());
        let mut ended = false;
        for (until, handler) in handlers.iter() {
            if until.as_ref().is_some_and(Shutdown::is_triggered) {
                ended = true;
            } else {
                live.push(handler.clone());
            }
        }
        drop(handlers);
        if ended {
            let over =
                |until: &Option<Shutdown>| !until.as_ref().is_some_and(Shutdown::is_triggered);
            self.handlers.write().retain(|(until, _)| over(until));
        }
        if let Some((last, others)) = live.split_last() {
            for handler in others {
                handler(change.clone());
            }
            last(change);
        }
    }
}

fn difference<K>(old: Option<Arc<K>>, new: Arc<K>) -> Change<K> {
    match old {
        Some(old) => Change::Updated { old, new },
        None => Change::Added(new),
    }
}

/// Whether two objects are the same one at the same revision.
fn same_state<K: Kind>(one: &K, other: &K) -> bool {
    let (one, other) = (one.metadata(), other.metadata());
    one.uid == other.uid && one.resource_version == other.resource_version
}
