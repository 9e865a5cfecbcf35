//! ConfigMaps and Secrets that Pods of this node refer to: each watched alone, as long as a Pod
//! needs it.
//!
//! A node may read only objects that its Pods name, so there is no watch on all of them. The first
//! Pod that asks starts the watch, the last one to go ends it, and each is woken when its object
//! changes.

use crate::error::Result;
use crate::pod::shared::Shared;
use client::{Client, Informer, Informers, Kind, Selection};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use stdx::Shutdown;

/// A watch gets so long to begin; then the object is asked for directly.
const PATIENCE: Duration = Duration::from_secs(5);

/// Namespace and name.
type Key = (String, String);
/// Pods that refer to an object.
type Users = Arc<Mutex<HashMap<String, Weak<Shared>>>>;

/// One watched object.
struct Watched<K> {
    informer: Informer<K>,
    users: Users,
    shutdown: Shutdown,
}

/// Watched objects of one kind.
type Table<K> = Mutex<HashMap<Key, Watched<K>>>;

/// All watched objects.
pub(crate) struct Objects {
    client: Client,
    shutdown: Shutdown,
    config_maps: Table<ConfigMap>,
    secrets: Table<Secret>,
}

impl Objects {
    /// None yet.
    pub(crate) fn new(client: Client, shutdown: Shutdown) -> Self {
        Self { client, shutdown, config_maps: Mutex::default(), secrets: Mutex::default() }
    }

    /// A ConfigMap of a Pod's namespace; the Pod is woken when it changes.
    pub(crate) async fn config_map(
        &self,
        pod: &Arc<Shared>,
        name: &str,
    ) -> Result<Option<Arc<ConfigMap>>> {
        self.get(&self.config_maps, pod, name).await
    }

    /// A Secret of a Pod's namespace; the Pod is woken when it changes.
    pub(crate) async fn secret(
        &self,
        pod: &Arc<Shared>,
        name: &str,
    ) -> Result<Option<Arc<Secret>>> {
        self.get(&self.secrets, pod, name).await
    }

    /// A Pod is gone: what only it referred to is watched no more.
    pub(crate) fn release(&self, uid: &str) {
        release(&self.config_maps, uid);
        release(&self.secrets, uid);
    }

    /// The object, from its watch.
    async fn get<K: Kind>(
        &self,
        table: &Table<K>,
        pod: &Arc<Shared>,
        name: &str,
    ) -> Result<Option<Arc<K>>> {
        let namespace = pod.id.namespace.as_str();
        let informer = self.watched(table, pod, name);
        // A watch that cannot begin is no reason to wait for ever.
        if tokio::time::timeout(PATIENCE, informer.synced()).await.is_ok()
            && let Some(found) = informer.get(namespace, name)
        {
            return Ok(Some(found));
        }
        // Not there, or made a moment ago: the server knows.
        Ok(self.client.find::<K>(namespace, name).await?.map(Arc::new))
    }

    /// The watch of an object, begun if there is none.
    fn watched<K: Kind>(&self, table: &Table<K>, pod: &Arc<Shared>, name: &str) -> Informer<K> {
        let namespace = pod.id.namespace.clone();
        let key = (namespace.clone(), name.to_owned());
        let mut table = table.lock();
        let watched = table.entry(key).or_insert_with(|| {
            let shutdown = self.shutdown.child();
            let informers = Informers::new(self.client.clone(), shutdown.clone());
            let fields = format!("metadata.name={name}");
            let informer =
                informers.selected(Selection { namespace, fields, ..Selection::default() });
            let users = Users::default();
            let told = users.clone();
            informer.on_event(move |_| {
                for user in told.lock().values().filter_map(Weak::upgrade) {
                    user.refresh();
                }
            });
            Watched { informer, users, shutdown }
        });
        watched.users.lock().insert(pod.id.uid.clone(), Arc::downgrade(pod));
        watched.informer.clone()
    }
}

/// Takes a Pod off all objects of a table.
fn release<K>(table: &Table<K>, uid: &str) {
    table.lock().retain(|_, watched| {
        let mut users = watched.users.lock();
        users.remove(uid);
        if users.is_empty() {
            watched.shutdown.trigger();
        }
        !users.is_empty()
    });
}
