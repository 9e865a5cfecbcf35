//! What a controller works with: caches, the fenced client, events, the time, and its unseen
//! writes.
//!
//! A cache lags behind the controller's own writes. A reconciler that looked at it too early would
//! write twice: two Pods for one. So every write is remembered under the key it was made for, and
//! that key is not reconciled again until the caches show the write (or five seconds have passed).

use crate::{
    config::Config,
    error::{Doing, Error},
};
use client::{Client, DeleteOptions, Informer, Informers, Kind, Patch, events};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long an unseen write holds a key back. A cache that lags longer is disturbed, and no reason
/// to stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names the object to reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A key.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub(crate) fn of<K: Kind>(object: &K) -> Self {
        let meta = object.metadata();
        Self::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What to do with a key after it was reconciled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    /// Wait for the next change.
    #[default]
    Done,
    /// Look again after this time.
    After(Duration),
}

impl Action {
    /// The earlier of both.
    pub(crate) fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::After(one), Self::After(two)) => Self::After(one.min(two)),
            (Self::Done, other) => other,
            (one, Self::Done) => one,
        }
    }
}

/// One write that a cache has not shown yet.
struct Unseen {
    /// Whether the cache shows it now.
    seen: Box<dyn Fn() -> bool + Send>,
    /// Held back until then at most.
    until: Instant,
}

/// What a controller works with.
pub(crate) struct Ctx {
    /// The controller's name.
    pub name: &'static str,
    /// The client of the leader's term.
    pub client: Client,
    /// The caches.
    pub informers: Informers,
    /// The settings.
    pub config: Arc<Config>,
    /// Writes events.
    pub recorder: events::Recorder,
    unseen: Mutex<HashMap<Key, Vec<Unseen>>>,
}

impl Ctx {
    /// The context of one controller; `component` is its name in events.
    pub(crate) fn new(
        name: &'static str,
        component: &str,
        client: &Client,
        informers: &Informers,
        config: &Arc<Config>,
    ) -> Self {
        let client = client.with_user_agent(&format!("trireme-controllers/{name}"));
        Self {
            name,
            // Upstream names no host in these events.
            recorder: events::Recorder::new(client.clone(), component, ""),
            client,
            informers: informers.clone(),
            config: config.clone(),
            unseen: Mutex::default(),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The cache of a kind.
    pub(crate) fn cache<K: Kind>(&self) -> Informer<K> {
        self.informers.of::<K>()
    }

    /// Whether the caches show every write made for this key.
    pub(crate) fn settled(&self, key: &Key) -> bool {
        let mut unseen = self.unseen.lock();
        let Some(writes) = unseen.get_mut(key) else { return true };
        let now = Instant::now();
        writes.retain(|one| one.until > now && !(one.seen)());
        if writes.is_empty() {
            unseen.remove(key);
            return true;
        }
        false
    }

    /// Holds a key back until a cache shows something.
    pub(crate) fn wait_for(&self, key: &Key, seen: impl Fn() -> bool + Send + 'static) {
        let one = Unseen { seen: Box::new(seen), until: Instant::now() + PATIENCE };
        self.unseen.lock().entry(key.clone()).or_default().push(one);
    }

    /// Remembers a written object.
    pub(crate) fn wrote<K: Kind>(&self, key: &Key, object: &K) {
        let cache = self.cache::<K>();
        cache.wrote(object);
        let at = Key::of(object);
        self.wait_for(key, move || cache.settled(&at.namespace, &at.name));
    }

    /// Creates an object.
    pub(crate) async fn create<K: Kind>(&self, key: &Key, object: &K) -> Result<K, client::Error> {
        let made = self.client.create(object).await?;
        self.wrote(key, &made);
        Ok(made)
    }

    /// Replaces an object.
    pub(crate) async fn update<K: Kind>(&self, key: &Key, object: &K) -> Result<K, Error> {
        let written = self.client.update(object).await.doing("update")?;
        self.wrote(key, &written);
        Ok(written)
    }

    /// Replaces an object's status.
    pub(crate) async fn update_status<K: Kind>(&self, key: &Key, object: &K) -> Result<K, Error> {
        let written = self.client.update_status(object).await.doing("update the status")?;
        self.wrote(key, &written);
        Ok(written)
    }

    /// Patches an object; `None` when it is gone.
    pub(crate) async fn patch<K: Kind>(
        &self,
        key: &Key,
        at: &Key,
        patch: Patch,
    ) -> Result<Option<K>, Error> {
        let sent = self.client.patch::<K>(&at.namespace, &at.name, patch).await;
        let written = sent.gone_is_done("patch")?;
        if let Some(written) = &written {
            self.wrote(key, written);
        }
        Ok(written)
    }

    /// Deletes exactly this object; one that is gone already is fine.
    pub(crate) async fn delete<K: Kind>(&self, key: &Key, object: &K) -> Result<(), client::Error> {
        self.delete_with(key, object, DeleteOptions::default()).await
    }

    /// Deletes exactly this object with options (the uid is added).
    pub(crate) async fn delete_with<K: Kind>(
        &self,
        key: &Key,
        object: &K,
        mut options: DeleteOptions,
    ) -> Result<(), client::Error> {
        let at = Key::of(object);
        let uid = object.metadata().uid.clone();
        options.uid.clone_from(&uid);
        match self.client.delete::<K>(&at.namespace, &at.name, &options).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let cache = self.cache::<K>();
        self.wait_for(key, move || {
            cache.get(&at.namespace, &at.name).is_none_or(|one| {
                one.metadata().uid != uid || one.metadata().deletion_timestamp.is_some()
            })
        });
        Ok(())
    }

    /// Tells of something that happened to an object.
    pub(crate) fn tell<K: Kind>(&self, object: &K, kind: events::Type, reason: &str, note: &str) {
        self.recorder.about(object, kind, reason, note, "");
    }

    /// Tells of something good.
    pub(crate) fn normal<K: Kind>(&self, object: &K, reason: &str, note: &str) {
        self.tell(object, events::Type::Normal, reason, note);
    }

    /// Tells of something bad.
    pub(crate) fn warning<K: Kind>(&self, object: &K, reason: &str, note: &str) {
        self.tell(object, events::Type::Warning, reason, note);
    }
}

/// A reference that makes an object the controller of what it makes.
pub(crate) fn controller_of<K: Kind>(object: &K) -> OwnerReference {
    let meta = object.metadata();
    OwnerReference {
        api_version: K::API_VERSION.into(),
        kind: K::KIND.into(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Arc-cloned caches are read often: the owned copy to write.
pub(crate) fn owned<K: Clone>(object: &Arc<K>) -> K {
    K::clone(object)
}
