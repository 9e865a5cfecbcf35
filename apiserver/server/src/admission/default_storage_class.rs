//! A claim that names no StorageClass gets the default one, if there is one.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::{Plugin, Review, lookup};
use crate::fields;

/// Old way to name a class.
const BETA: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
/// Mark the default class.
const DEFAULTS: [&str; 2] = [
    "/metadata/annotations/storageclass.kubernetes.io~1is-default-class",
    "/metadata/annotations/storageclass.beta.kubernetes.io~1is-default-class",
];

/// The plugin.
pub(super) struct DefaultStorageClass;

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.creates("", "persistentvolumeclaims")
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(claim) = object else { return Ok(()) };
        if fields::has(claim, "/spec/storageClassName") || fields::has(claim, BETA) {
            return Ok(());
        }
        let classes = lookup::all(review.call, "storage.k8s.io", "storageclasses", "").await?;
        let is_default =
            |class: &Value| DEFAULTS.iter().any(|path| fields::text(class, path) == "true");
        if let Some(class) = newest(classes.into_iter().filter(is_default)) {
            fields::set(claim, "/spec/storageClassName", fields::text(&class, "/metadata/name"));
        }
        Ok(())
    }
}

/// The newest of several defaults; of equally new ones the first by name.
pub(super) fn newest(classes: impl Iterator<Item = Value>) -> Option<Value> {
    classes.reduce(|best, next| {
        let key = |class: &Value| fields::text(class, "/metadata/creationTimestamp").to_owned();
        if key(&next) > key(&best) { next } else { best }
    })
}
