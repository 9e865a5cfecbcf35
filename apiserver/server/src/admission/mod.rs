//! Admission: plugins that complete new objects, and refuse what the cluster's own state forbids.
//!
//! Each plugin is one file and one row of [`PLUGINS`]. A request passes the table twice: `mutate`
//! before the kind's strategy and validation, `validate` after them; a plugin takes part in either
//! or both. The order is upstream's, and it matters: later plugins see what earlier ones added.
//!
//! Absent on purpose: webhooks and policies, which are plugins of the same table once they exist.

mod certificate_approval;
mod certificate_subject_restriction;
mod cluster_trust_bundle_attest;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod limit_ranger;
mod lookup;
mod namespace_lifecycle;
mod node_restriction;
mod persistent_volume_claim_resize;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod resource_quota;
mod resources;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use crate::fields;
use crate::rest::Call;

pub use self::resource_quota::charge;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Makes an object.
    Create,
    /// Changes one.
    Update,
    /// Removes one.
    Delete,
}

/// A write that is reviewed.
pub struct Review<'a> {
    /// The request.
    pub call: &'a Call,
    /// What it does.
    pub operation: Operation,
    /// The object as it is; `None` at a creation.
    pub old: Option<&'a Value>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

/// Something that has a say in writes.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Whether a write is its business.
    fn handles(&self, review: &Review<'_>) -> bool;

    /// Completes the new object, or refuses. There is none at a deletion.
    async fn mutate(
        &self,
        _review: &Review<'_>,
        _object: Option<&mut Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses an object that must not be.
    async fn validate(&self, _review: &Review<'_>, _object: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// All plugins, in the order in which they are asked.
pub const PLUGINS: &[&dyn Plugin] = &[
    &namespace_lifecycle::NamespaceLifecycle,
    &limit_ranger::LimitRanger,
    &service_account::ServiceAccount,
    &node_restriction::NodeRestriction,
    &taint_nodes_by_condition::TaintNodesByCondition,
    &pod_security::PodSecurity,
    &priority::Priority,
    &default_toleration_seconds::DefaultTolerationSeconds,
    &default_storage_class::DefaultStorageClass,
    &storage_object_in_use_protection::StorageObjectInUseProtection,
    &persistent_volume_claim_resize::PersistentVolumeClaimResize,
    &runtime_class::RuntimeClass,
    &certificate_approval::CertificateApproval,
    &cluster_trust_bundle_attest::ClusterTrustBundleAttest,
    &certificate_subject_restriction::CertificateSubjectRestriction,
    &default_ingress_class::DefaultIngressClass,
    &pod_topology_labels::PodTopologyLabels,
];

impl Review<'_> {
    /// Whether it is about this resource itself, not about something below it.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.is_any_door(group, plural) && self.subresource().is_empty()
    }

    /// Whether it is about this resource, or something below it.
    pub fn is_any_door(&self, group: &str, plural: &str) -> bool {
        self.call.kind.is(group, plural)
    }

    /// The subresource; empty is the object itself.
    pub fn subresource(&self) -> &str {
        &self.call.info.subresource
    }

    /// Whether it makes an object of this resource.
    pub fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural)
    }

    /// The object's name: a new object may bring its own.
    pub fn name<'b>(&'b self, object: Option<&'b Value>) -> &'b str {
        let own = object.map(|object| fields::text(object, "/metadata/name")).unwrap_or_default();
        if own.is_empty() { &self.call.info.name } else { own }
    }

    /// 403 with a reason.
    pub fn forbidden(&self, object: Option<&Value>, why: &str) -> Status {
        let resource = &self.call.kind.resource;
        Status::forbidden(resource.group, resource.plural, self.name(object), why)
    }
}

/// Lets every plugin complete the object.
pub async fn mutate(
    call: &Call,
    operation: Operation,
    mut object: Option<&mut Value>,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), Status> {
    let review = Review { call, operation, old, dry_run };
    for plugin in PLUGINS.iter().filter(|plugin| plugin.handles(&review)) {
        plugin.mutate(&review, object.as_deref_mut()).await?;
    }
    Ok(())
}

/// Lets every plugin refuse the object.
pub async fn validate(
    call: &Call,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), Status> {
    let review = Review { call, operation, old, dry_run };
    for plugin in PLUGINS.iter().filter(|plugin| plugin.handles(&review)) {
        plugin.validate(&review, object).await?;
    }
    Ok(())
}
