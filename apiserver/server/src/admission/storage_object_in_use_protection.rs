//! Volumes, claims and volume attributes classes stay until a controller saw that nobody uses them.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::{Plugin, Review};
use crate::fields;

/// Resources and their finalizers.
const FINALIZERS: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

/// The plugin.
pub(super) struct StorageObjectInUseProtection;

fn finalizer(review: &Review<'_>) -> Option<&'static str> {
    let row = FINALIZERS.iter().find(|(group, plural, _)| review.creates(group, plural));
    row.map(|(_, _, finalizer)| *finalizer)
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn handles(&self, review: &Review<'_>) -> bool {
        finalizer(review).is_some()
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let (Some(object), Some(finalizer)) = (object, finalizer(review)) else { return Ok(()) };
        let mut finalizers = fields::list(object, "/metadata/finalizers").to_vec();
        if !finalizers.iter().any(|own| own == finalizer) {
            finalizers.push(finalizer.into());
            fields::set(object, "/metadata/finalizers", finalizers);
        }
        Ok(())
    }
}
