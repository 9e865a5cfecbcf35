//! Defaults that the server writes into an object before admission sees it.
//!
//! Two sources: OpenAPI's non-zero defaults, which are data, and what depends on other fields or on
//! the kind, which is hand-written here, one file per family and one row per kind. Applying twice
//! changes nothing. Resource lists are rounded up to thousandths on the way, as upstream does.
//!
//! An object arrives in canonical form: a scalar without a value is missing, or zero where Go
//! always writes it. [`edit`]'s helpers take both for "not given".

mod admission;
mod app_armor;
mod apps;
mod autoscaling;
mod batch;
mod core;
mod edit;
mod flow;
mod image;
mod label_keys;
mod network;
mod pod;
mod pod_resources;
mod resource;
mod small;
mod storage;
mod volume;
mod walk;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::{app_armor::app_armor_fields, label_keys::merge_label_keys};

use crate::facts::{Gvk, registry};

/// A kind and what fills its defaults.
struct Row(&'static str, &'static str, fn(&mut Value));

/// All kinds with hand-written defaults. Order has no meaning.
static DEFAULTS: &[Row] = &[
    Row("", "Endpoints", network::endpoints),
    Row("", "LimitRange", core::limit_range),
    Row("", "Namespace", core::namespace),
    Row("", "Node", core::node),
    Row("", "PersistentVolume", volume::persistent_volume),
    Row("", "PersistentVolumeClaim", volume::claim),
    Row("", "Pod", pod::pod),
    Row("", "PodTemplate", pod::pod_template),
    Row("", "ReplicationController", core::replication_controller),
    Row("", "Secret", core::secret),
    Row("", "Service", core::service),
    Row("admissionregistration.k8s.io", "MutatingAdmissionPolicy", admission::policy),
    Row("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", admission::binding),
    Row("admissionregistration.k8s.io", "MutatingWebhookConfiguration", admission::mutating),
    Row("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", admission::policy),
    Row("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", admission::binding),
    Row("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", admission::validating),
    Row("apiextensions.k8s.io", "CustomResourceDefinition", small::custom_resource_definition),
    Row("apiregistration.k8s.io", "APIService", small::api_service),
    Row("apps", "DaemonSet", apps::daemon_set),
    Row("apps", "Deployment", apps::deployment),
    Row("apps", "ReplicaSet", apps::replica_set),
    Row("apps", "StatefulSet", apps::stateful_set),
    Row("authentication.k8s.io", "TokenRequest", small::token_request),
    Row("autoscaling", "HorizontalPodAutoscaler", autoscaling::autoscaler),
    Row("batch", "CronJob", batch::cron_job),
    Row("batch", "Job", batch::job),
    Row("discovery.k8s.io", "EndpointSlice", network::endpoint_slice),
    Row("flowcontrol.apiserver.k8s.io", "FlowSchema", flow::schema),
    Row("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", flow::level),
    Row("networking.k8s.io", "IngressClass", network::ingress_class),
    Row("networking.k8s.io", "NetworkPolicy", network::policy),
    Row("rbac.authorization.k8s.io", "ClusterRoleBinding", small::role_binding),
    Row("rbac.authorization.k8s.io", "RoleBinding", small::role_binding),
    Row("resource.k8s.io", "DeviceTaintRule", resource::taint_rule),
    Row("resource.k8s.io", "ResourceClaim", resource::claim),
    Row("resource.k8s.io", "ResourceClaimTemplate", resource::template),
    Row("resource.k8s.io", "ResourceSlice", resource::slice),
    Row("scheduling.k8s.io", "PriorityClass", small::priority_class),
    Row("storage.k8s.io", "CSIDriver", storage::driver),
    Row("storage.k8s.io", "StorageClass", storage::class),
];

/// Fills the defaults of an object of this kind, in place. A kind that is not built in has none
/// here: its schema has them.
pub fn apply(gvk: Gvk<'_>, object: &mut Value) {
    let Some(ty) = registry().kind(gvk.group, gvk.version, gvk.kind) else { return };
    walk::walk(ty, object, gvk.group != "resource.k8s.io");
    if let Some(row) = DEFAULTS.iter().find(|row| row.0 == gvk.group && row.1 == gvk.kind) {
        (row.2)(object);
    }
}

/// Fills what a Pod as a whole asks for: later than the other defaults, so that nobody owns it.
pub fn pod_level_resources(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        pod_resources::fill(spec);
    }
}

/// Defaults of a pod spec outside a pod, such as a template's; for callers that make one up.
pub fn pod_spec(spec: &mut Value) {
    pod::spec(spec);
}
