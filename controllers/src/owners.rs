//! Owner references: who controls an object, and indexes over that.

use client::{Informer, Kind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::sync::Arc;

/// Index of objects by their controller's uid.
const BY_CONTROLLER: &str = "controller-uid";
/// Index of objects without controller by namespace.
const ORPHANS: &str = "orphans";

/// The reference to an object's controller.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|one| one.controller == Some(true))
}

/// Whether the object with this uid controls the other.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller(meta).is_some_and(|owner| owner.uid == uid)
}

/// Lets an informer answer [`owned`] and [`candidates`].
pub(crate) fn index<K: Kind>(informer: &Informer<K>) {
    informer.index(BY_CONTROLLER, |object| {
        controller(object.metadata()).map(|owner| owner.uid.clone()).into_iter().collect()
    });
    informer.index(ORPHANS, |object| match controller(object.metadata()) {
        Some(_) => Vec::new(),
        None => vec![object.metadata().namespace.clone().unwrap_or_default()],
    });
}

/// The objects that this owner controls.
pub(crate) fn owned<K: Kind>(informer: &Informer<K>, uid: &str) -> Vec<Arc<K>> {
    informer.by_index(BY_CONTROLLER, uid)
}

/// The objects that this owner controls, and those in its namespace that nobody does.
pub(crate) fn candidates<K: Kind>(
    informer: &Informer<K>,
    namespace: &str,
    uid: &str,
) -> Vec<Arc<K>> {
    let mut all = informer.by_index(BY_CONTROLLER, uid);
    all.extend(informer.by_index(ORPHANS, namespace));
    all
}
