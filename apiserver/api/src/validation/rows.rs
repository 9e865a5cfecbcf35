//! The table of validators: one row a kind.

use serde_json::Value;

use super::{
    admission_policies as policies, apps, batch, certificates,
    check::Errors,
    core, cron, device_slices, devices, flow, ingress,
    metadata::{NameRule, any, label, path_segment, subdomain},
    network, rbac, scale,
    small::{self, nothing_changed},
    stateful_set, storage, webhooks,
};

/// A kind, how its objects may be called, what is checked when one is made and when one changes.
pub(super) struct Row(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) NameRule,
    pub(super) fn(&Value, &mut Errors),
    pub(super) fn(&Value, &Value, &mut Errors),
);

/// The group of webhooks.
const ADMISSION: &str = "admissionregistration.k8s.io";
/// The group of roles.
const RBAC: &str = "rbac.authorization.k8s.io";
/// The group of storage classes.
const STORAGE: &str = "storage.k8s.io";
/// The group of certificates.
const CERTIFICATES: &str = "certificates.k8s.io";
/// The group of networking.
const NETWORKING: &str = "networking.k8s.io";
/// The group of devices.
const DEVICES: &str = "resource.k8s.io";
/// The group of flow control.
const FLOW: &str = "flowcontrol.apiserver.k8s.io";

/// Kinds that check more than metadata, or are called otherwise. Order has no meaning.
pub(super) static VALIDATORS: &[Row] = &[
    Row("", "ConfigMap", subdomain, core::config_map::create, core::config_map::update),
    Row("", "Endpoints", subdomain, core::endpoints::create, core::endpoints::update),
    Row("", "Event", core::event::name, core::event::create, core::event::update),
    Row("", "LimitRange", subdomain, core::limit_range::create, core::limit_range::update),
    Row("", "Namespace", label, core::namespace::create, core::namespace::update),
    Row("", "Node", subdomain, core::node::create, core::node::update),
    Row(
        "",
        "PersistentVolume",
        subdomain,
        core::persistent_volume::create,
        core::persistent_volume::update,
    ),
    Row(
        "",
        "PersistentVolumeClaim",
        subdomain,
        core::volume_claim::create,
        core::volume_claim::update,
    ),
    Row("", "Pod", subdomain, core::pod::create, core::pod::update),
    Row("", "PodTemplate", subdomain, core::pod::pod_template, core::pod::pod_template_update),
    Row(
        "",
        "ReplicationController",
        subdomain,
        core::replication_controller::create,
        core::replication_controller::update,
    ),
    Row("", "ResourceQuota", subdomain, core::resource_quota::create, core::resource_quota::update),
    Row("", "Secret", subdomain, core::secret::create, core::secret::update),
    Row("", "Service", core::service::name, core::service::create, core::service::update),
    Row(
        ADMISSION,
        "MutatingAdmissionPolicy",
        subdomain,
        policies::mutating,
        policies::mutating_update,
    ),
    Row(
        ADMISSION,
        "MutatingAdmissionPolicyBinding",
        subdomain,
        policies::binding,
        policies::binding_update,
    ),
    Row(
        ADMISSION,
        "ValidatingAdmissionPolicy",
        subdomain,
        policies::validating,
        policies::validating_update,
    ),
    Row(
        ADMISSION,
        "ValidatingAdmissionPolicyBinding",
        subdomain,
        policies::validating_binding,
        policies::validating_binding_update,
    ),
    Row(
        ADMISSION,
        "MutatingWebhookConfiguration",
        subdomain,
        webhooks::mutating,
        webhooks::mutating_update,
    ),
    Row(
        ADMISSION,
        "ValidatingWebhookConfiguration",
        subdomain,
        webhooks::validating,
        webhooks::validating_update,
    ),
    Row(
        "apiregistration.k8s.io",
        "APIService",
        path_segment,
        small::api_service,
        small::api_service_update,
    ),
    Row("apps", "ControllerRevision", subdomain, apps::revision, apps::revision_update),
    Row("apps", "DaemonSet", subdomain, apps::daemon_set, apps::daemon_set_update),
    Row("apps", "Deployment", subdomain, apps::deployment, apps::deployment_update),
    Row("apps", "ReplicaSet", subdomain, apps::replica_set, apps::replica_set_update),
    Row(
        "apps",
        "StatefulSet",
        stateful_set::stateful_name,
        stateful_set::stateful_set,
        stateful_set::stateful_set_update,
    ),
    Row(
        "autoscaling",
        "HorizontalPodAutoscaler",
        subdomain,
        scale::autoscaler,
        scale::autoscaler_update,
    ),
    Row("batch", "CronJob", subdomain, cron::create, cron::update),
    Row("batch", "Job", batch::job_name, batch::job, batch::job_update),
    Row(
        CERTIFICATES,
        "CertificateSigningRequest",
        any,
        certificates::request,
        certificates::request_update,
    ),
    Row(
        CERTIFICATES,
        "ClusterTrustBundle",
        certificates::bundle_name,
        certificates::bundle,
        certificates::bundle_update,
    ),
    Row(
        CERTIFICATES,
        "PodCertificateRequest",
        subdomain,
        certificates::pod_request,
        certificates::pod_request_update,
    ),
    Row("coordination.k8s.io", "Lease", subdomain, small::lease, small::lease_update),
    Row(
        "discovery.k8s.io",
        "EndpointSlice",
        subdomain,
        network::endpoint_slice,
        network::endpoint_slice_update,
    ),
    Row("events.k8s.io", "Event", core::event::name, core::event::create, core::event::update),
    Row(FLOW, "FlowSchema", subdomain, flow::schema, flow::schema_update),
    Row(FLOW, "PriorityLevelConfiguration", subdomain, flow::level, flow::level_update),
    Row(NETWORKING, "IPAddress", network::ip_name, network::ip_address, network::ip_address_update),
    Row(NETWORKING, "Ingress", subdomain, ingress::ingress, ingress::ingress_update),
    Row(
        NETWORKING,
        "IngressClass",
        subdomain,
        ingress::ingress_class,
        ingress::ingress_class_update,
    ),
    Row(NETWORKING, "NetworkPolicy", subdomain, network::policy, network::policy_update),
    Row(NETWORKING, "ServiceCIDR", subdomain, network::service_cidr, network::service_cidr_update),
    Row(
        "node.k8s.io",
        "RuntimeClass",
        subdomain,
        small::runtime_class,
        small::runtime_class_update,
    ),
    Row("policy", "PodDisruptionBudget", subdomain, scale::budget, scale::budget_update),
    Row(RBAC, "ClusterRole", path_segment, rbac::cluster_role, rbac::cluster_role_update),
    Row(
        RBAC,
        "ClusterRoleBinding",
        path_segment,
        rbac::cluster_binding,
        rbac::cluster_binding_update,
    ),
    Row(RBAC, "Role", path_segment, rbac::role, rbac::role_update),
    Row(RBAC, "RoleBinding", path_segment, rbac::binding, rbac::binding_update),
    Row(DEVICES, "DeviceClass", subdomain, devices::class, devices::class_update),
    Row(DEVICES, "DeviceTaintRule", subdomain, devices::taint_rule, devices::taint_rule_update),
    Row(DEVICES, "ResourceClaim", subdomain, devices::claim, devices::claim_update),
    Row(
        DEVICES,
        "ResourceClaimTemplate",
        subdomain,
        devices::claim_template,
        devices::claim_template_update,
    ),
    Row(DEVICES, "ResourceSlice", subdomain, device_slices::slice, device_slices::slice_update),
    Row("scheduling.k8s.io", "PriorityClass", subdomain, small::priority_class, nothing_changed),
    Row(STORAGE, "CSIDriver", subdomain, storage::driver, storage::driver_update),
    Row(STORAGE, "CSINode", subdomain, storage::node, storage::node_update),
    Row(STORAGE, "CSIStorageCapacity", subdomain, storage::capacity, storage::capacity_update),
    Row(STORAGE, "StorageClass", subdomain, storage::class, storage::class_update),
    Row(STORAGE, "VolumeAttachment", subdomain, storage::attachment, storage::attachment_update),
    Row(
        STORAGE,
        "VolumeAttributesClass",
        subdomain,
        storage::attributes_class,
        storage::attributes_class_update,
    ),
    Row(
        "storagemigration.k8s.io",
        "StorageVersionMigration",
        subdomain,
        small::migration,
        small::migration_update,
    ),
];
