//! The owner graph, read from metadata informers.

use client::{Informer, Informers, Partial, Resource};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::Arc,
};

/// Index of objects by the uids of their owners.
const BY_OWNER: &str = "owner-uids";
/// Index of objects by their own uid.
const BY_UID: &str = "uid";
/// So many owners are remembered as absent.
const ABSENT: usize = 500;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item {
    /// Its resource.
    pub resource: Resource,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Item {
    /// The item of an object.
    pub(super) fn of(resource: &Resource, object: &Partial) -> Self {
        let meta = &object.metadata;
        Self {
            resource: resource.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    /// Its path at the API server.
    pub(super) fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = &self.resource;
        write!(f, "{}.{} {}/{}", resource.plural, resource.group, self.namespace, self.name)
    }
}

/// What an owner reference names, as far as kinds are known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owner {
    /// An object of this resource, in this namespace.
    At(Resource, String),
    /// A namespaced object, for a dependent that has no namespace.
    Impossible,
    /// Nobody serves such a kind.
    Unknown,
}

/// The graph.
pub(super) struct Graph {
    informers: Informers,
    state: Mutex<State>,
}

/// What is followed and known.
#[derive(Default)]
struct State {
    /// Every followed resource.
    followed: HashMap<Resource, Informer<Partial>>,
    /// Resources by API version and kind.
    kinds: HashMap<(String, String), Resource>,
    /// Uids that certainly don't exist, oldest first.
    absent: VecDeque<String>,
    /// The same, to look up.
    absent_set: HashSet<String>,
}

/// The deletable resources of the registry. Events are never collected.
pub(super) fn built_in() -> Vec<Resource> {
    let all = api::facts::registry().resources().iter();
    all.filter(|one| ["delete", "list", "watch"].iter().all(|verb| one.allows(verb)))
        .filter(|one| one.plural != "events")
        .map(from_facts)
        .collect()
}

fn from_facts(one: &api::facts::Resource) -> Resource {
    Resource {
        group: one.group.into(),
        version: one.version.into(),
        plural: one.plural.into(),
        namespaced: one.namespaced,
    }
}

/// Lets an informer answer the graph's questions.
pub(super) fn index(informer: &Informer<Partial>) {
    informer.index(BY_OWNER, |object| {
        let owners = object.metadata.owner_references.iter().flatten();
        owners.map(|owner| owner.uid.clone()).collect()
    });
    informer.index(BY_UID, |object| object.metadata.uid.clone().into_iter().collect());
}

impl Graph {
    /// Follows nothing yet.
    pub(super) fn new(informers: Informers) -> Self {
        Self { informers, state: Mutex::default() }
    }

    /// Follows what is served now, given the custom resource definitions; returns what is new.
    pub(super) fn refresh(
        &self,
        definitions: &[Arc<CustomResourceDefinition>],
    ) -> Vec<(Resource, Informer<Partial>)> {
        let mut kinds = HashMap::new();
        let mut wanted: HashSet<Resource> = built_in().into_iter().collect();
        for one in api::facts::registry().resources() {
            kinds.insert((one.api_version(), one.kind.to_owned()), from_facts(one));
        }
        for definition in definitions {
            let spec = &definition.spec;
            let mut first = true;
            for version in spec.versions.iter().filter(|version| version.served) {
                let resource = Resource {
                    group: spec.group.clone().into(),
                    version: version.name.clone().into(),
                    plural: spec.names.plural.clone().into(),
                    namespaced: spec.scope == "Namespaced",
                };
                let api_version = format!("{}/{}", spec.group, version.name);
                kinds.insert((api_version, spec.names.kind.clone()), resource.clone());
                // All versions show the same objects: one is enough.
                if std::mem::take(&mut first) {
                    wanted.insert(resource);
                }
            }
        }
        let mut state = self.state.lock();
        state.kinds = kinds;
        let gone: Vec<Resource> =
            state.followed.keys().filter(|one| !wanted.contains(*one)).cloned().collect();
        for resource in gone {
            state.followed.remove(&resource);
            self.informers.forget_metadata(&resource);
        }
        let mut new = Vec::new();
        for resource in wanted {
            if !state.followed.contains_key(&resource) {
                let informer = self.informers.metadata(&resource);
                index(&informer);
                state.followed.insert(resource.clone(), informer.clone());
                new.push((resource, informer));
            }
        }
        new
    }

    fn all(&self) -> Vec<(Resource, Informer<Partial>)> {
        let state = self.state.lock();
        state.followed.iter().map(|(one, informer)| (one.clone(), informer.clone())).collect()
    }

    /// The objects that name this one as owner, with their metadata.
    pub(super) fn dependents_of(&self, uid: &str) -> Vec<(Item, Arc<Partial>)> {
        let of = |(resource, informer): (Resource, Informer<Partial>)| {
            let found = informer.by_index(BY_OWNER, uid).into_iter();
            found.map(|one| (Item::of(&resource, &one), one)).collect::<Vec<_>>()
        };
        self.all().into_iter().flat_map(of).collect()
    }

    /// The objects that name this one as owner.
    pub(super) fn dependents(&self, object: &Partial) -> Vec<Item> {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        self.dependents_of(uid).into_iter().map(|(item, _)| item).collect()
    }

    /// Whether any object anywhere has this uid.
    pub(super) fn knows(&self, uid: &str) -> bool {
        self.all().iter().any(|(_, informer)| !informer.by_index(BY_UID, uid).is_empty())
    }

    /// What a reference of an object in this namespace names.
    pub(super) fn resolve(&self, namespace: &str, owner: &OwnerReference) -> Owner {
        let state = self.state.lock();
        let found = state.kinds.get(&(owner.api_version.clone(), owner.kind.clone()));
        match found {
            None => Owner::Unknown,
            Some(resource) if !resource.namespaced => Owner::At(resource.clone(), String::new()),
            Some(_) if namespace.is_empty() => Owner::Impossible,
            Some(resource) => Owner::At(resource.clone(), namespace.to_owned()),
        }
    }

    /// An object as the cache has it; a resource that is followed under another version counts.
    pub(super) fn cached(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Partial>> {
        let informer = {
            let state = self.state.lock();
            let exact = state.followed.get(resource);
            let same = |(other, _): &(&Resource, &Informer<Partial>)| {
                other.group == resource.group && other.plural == resource.plural
            };
            exact.or_else(|| state.followed.iter().find(same).map(|(_, one)| one)).cloned()
        };
        informer?.get(namespace, name)
    }

    /// The owners of an object that are on their way out and may wait for it.
    pub(super) fn waiting_owners(&self, object: &Partial) -> Vec<Item> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let owners = object.metadata.owner_references.iter().flatten();
        let waiting = owners.filter_map(|owner| {
            let Owner::At(resource, namespace) = self.resolve(namespace, owner) else {
                return None;
            };
            let found = self.cached(&resource, &namespace, &owner.name)?;
            found.metadata.deletion_timestamp.as_ref()?;
            Some(Item::of(&resource, &found))
        });
        waiting.collect()
    }

    /// Whether a uid is remembered as absent.
    pub(super) fn is_absent(&self, uid: &str) -> bool {
        self.state.lock().absent_set.contains(uid)
    }

    /// Remembers that no object has this uid. A uid never comes back.
    pub(super) fn remember_absent(&self, uid: &str) {
        let mut state = self.state.lock();
        if state.absent_set.insert(uid.to_owned()) {
            state.absent.push_back(uid.to_owned());
            if state.absent.len() > ABSENT
                && let Some(oldest) = state.absent.pop_front()
            {
                state.absent_set.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::built_in;

    #[test]
    fn everything_deletable_is_followed_but_events() {
        let all = built_in();
        let has = |plural: &str| all.iter().any(|one| one.plural == plural);
        assert!(has("pods") && has("leases") && has("clusterroles"));
        assert!(!has("events") && !has("bindings"));
    }
}
