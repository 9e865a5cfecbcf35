//! The kinds that this server serves: facts about a resource, where its objects are stored, and the strategy
//! that its writes follow.

use api::facts::{Gvk, Resource, Subresource, Ty, Types, registry};
use std::collections::HashMap;
use std::sync::Arc;

use crate::kinds;
use crate::storage::keys;
use crate::strategy::Strategy;

/// A served resource of one group and version.
pub struct Kind {
    /// Its facts.
    pub resource: Resource,
    /// Types of a custom resource; `None` is the registry's own.
    pub types: Option<Arc<Types>>,
    /// Where its objects are stored.
    pub folder: String,
    /// What its writes follow.
    pub strategy: &'static dyn Strategy,
}

impl Kind {
    /// A kind with the strategy that its table row names.
    fn built_in(resource: &Resource) -> Self {
        let row = kinds::strategy(resource.group, resource.plural);
        Self {
            resource: resource.clone(),
            types: None,
            folder: keys::folder(resource.group, resource.plural),
            strategy: row,
        }
    }

    /// Type of its objects.
    pub fn ty(&self) -> Ty<'_> {
        match &self.types {
            Some(types) => types.at(self.resource.ty),
            None => registry().ty(self.resource.ty),
        }
    }

    /// Type of its lists.
    pub fn list_ty(&self) -> Option<Ty<'static>> {
        match self.types {
            Some(_) => None,
            None => self.resource.list_ty.map(|id| registry().ty(id)),
        }
    }

    /// Whether objects can be encoded as protobuf.
    pub fn is_built_in(&self) -> bool {
        self.types.is_none()
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk<'static> {
        self.resource.gvk()
    }

    /// Whether it is this kind of this group.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }

    /// A subresource's facts.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.resource.subresource(name)
    }

    /// Whether objects have a status of their own that only its subresource changes.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

/// All served kinds.
#[derive(Default)]
pub struct Kinds {
    by_plural: HashMap<(String, String, String), Arc<Kind>>,
}

impl Kinds {
    /// The built-in kinds.
    pub fn built_in() -> Self {
        let mut by_plural = HashMap::new();
        for resource in registry().resources() {
            let key = (resource.group, resource.version, resource.plural);
            let key = (key.0.to_owned(), key.1.to_owned(), key.2.to_owned());
            by_plural.insert(key, Arc::new(Kind::built_in(resource)));
        }
        Self { by_plural }
    }

    /// The kind under a path.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.by_plural.get(&key).cloned()
    }

    /// Whether a group is served at all.
    pub fn has_group(&self, group: &str) -> bool {
        self.by_plural.keys().any(|(g, _, _)| g == group)
    }

    /// Whether a group has this version.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.by_plural.keys().any(|(g, v, _)| g == group && v == version)
    }

    /// Any version of a resource.
    pub fn any_version(&self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        let mut all = self.by_plural.values();
        all.find(|kind| kind.is(group, plural)).cloned()
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_plural.values()
    }
}
