//! What the server does to each kind at its writes: one row per kind that differs from the default.

pub mod apps;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod rbac;
pub mod scheduling;

use crate::strategy::{Generation, Plain, Rules, Strategy};

/// A row: group, resource, strategy.
pub struct Row(pub &'static str, pub &'static str, pub &'static dyn Strategy);

/// Kinds with nothing of their own.
static DEFAULT: Plain = Plain(Rules::DEFAULT);
/// Kinds with a generation.
static SPEC: Plain = Plain(Rules::SPEC);
/// Kinds that a PUT creates.
static UPSERT: Plain = Plain(Rules { create_on_update: true, ..Rules::DEFAULT });
/// Kinds whose deletion answers with the object.
static RETURNS: Plain = Plain(Rules { returns_deleted: true, ..Rules::DEFAULT });
/// Those, with a generation.
static SPEC_RETURNS: Plain = Plain(Rules { returns_deleted: true, ..Rules::SPEC });
/// Kinds with a generation whose PUT needs a resourceVersion.
static SPEC_CONDITIONAL: Plain = Plain(Rules { unconditional_update: false, ..Rules::SPEC });
/// Events end after an hour.
static EVENT: Plain = Plain(Rules { create_on_update: true, ttl: Some(3600), ..Rules::DEFAULT });
/// Its deletion orphans pods.
static REPLICATION_CONTROLLER: Plain = Plain(Rules { orphans: true, ..Rules::SPEC });
/// A new CSINode with a stale revision must fail.
static CSI_NODE: Plain =
    Plain(Rules { unconditional_update: false, returns_deleted: true, ..Rules::DEFAULT });
/// Generation of a CSIDriver.
static CSI_DRIVER: Plain = Plain(Rules {
    generation: Generation::SpecLater,
    returns_deleted: true,
    unconditional_update: false,
    ..Rules::DEFAULT
});

/// All kinds that differ from the default. Order has no meaning.
pub static STRATEGIES: &[Row] = &[
    Row("", "configmaps", &core::config_map::ConfigMap),
    Row("", "endpoints", &UPSERT),
    Row("", "events", &EVENT),
    Row("", "limitranges", &UPSERT),
    Row("", "namespaces", &core::namespace::Namespace),
    Row("", "nodes", &core::node::Node),
    Row("", "persistentvolumeclaims", &core::persistent_volume_claim::PersistentVolumeClaim),
    Row("", "persistentvolumes", &core::persistent_volume::PersistentVolume),
    Row("", "pods", &core::pod::Pod),
    Row("", "podtemplates", &SPEC_RETURNS),
    Row("", "replicationcontrollers", &REPLICATION_CONTROLLER),
    Row("", "resourcequotas", &RETURNS),
    Row("", "secrets", &core::secret::Secret),
    Row("", "serviceaccounts", &core::service_account::ServiceAccount),
    Row("", "services", &core::service::Service),
    Row("admissionregistration.k8s.io", "mutatingadmissionpolicies", &SPEC),
    Row("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", &SPEC),
    Row("admissionregistration.k8s.io", "mutatingwebhookconfigurations", &SPEC),
    Row("admissionregistration.k8s.io", "validatingadmissionpolicies", &SPEC),
    Row("admissionregistration.k8s.io", "validatingadmissionpolicybindings", &SPEC),
    Row("admissionregistration.k8s.io", "validatingwebhookconfigurations", &SPEC),
    Row("apiextensions.k8s.io", "customresourcedefinitions", &SPEC_CONDITIONAL),
    Row("apps", "daemonsets", &apps::daemon_set::DaemonSet),
    Row("apps", "deployments", &apps::deployment::Deployment),
    Row("apps", "replicasets", &SPEC),
    Row("apps", "statefulsets", &SPEC),
    Row("autoscaling", "horizontalpodautoscalers", &SPEC),
    Row("batch", "cronjobs", &SPEC),
    Row("batch", "jobs", &batch::job::Job),
    Row("certificates.k8s.io", "certificatesigningrequests", &certificates::SigningRequest),
    Row("coordination.k8s.io", "leases", &coordination::lease::Lease),
    Row("discovery.k8s.io", "endpointslices", &discovery::EndpointSlice),
    Row("events.k8s.io", "events", &EVENT),
    Row("flowcontrol.apiserver.k8s.io", "flowschemas", &SPEC),
    Row("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &SPEC),
    Row("networking.k8s.io", "ingressclasses", &SPEC),
    Row("networking.k8s.io", "ingresses", &SPEC),
    Row("networking.k8s.io", "networkpolicies", &SPEC),
    Row("policy", "poddisruptionbudgets", &SPEC_CONDITIONAL),
    Row("rbac.authorization.k8s.io", "clusterrolebindings", &rbac::Binding),
    Row("rbac.authorization.k8s.io", "clusterroles", &rbac::Role),
    Row("rbac.authorization.k8s.io", "rolebindings", &rbac::Binding),
    Row("rbac.authorization.k8s.io", "roles", &rbac::Role),
    Row("resource.k8s.io", "deviceclasses", &SPEC_RETURNS),
    Row("resource.k8s.io", "resourceclaims", &RETURNS),
    Row("resource.k8s.io", "resourceslices", &SPEC_RETURNS),
    Row("scheduling.k8s.io", "priorityclasses", &scheduling::priority_class::PriorityClass),
    Row("storage.k8s.io", "csidrivers", &CSI_DRIVER),
    Row("storage.k8s.io", "csinodes", &CSI_NODE),
    Row("storage.k8s.io", "storageclasses", &RETURNS),
    Row("storage.k8s.io", "volumeattachments", &RETURNS),
    Row("storage.k8s.io", "volumeattributesclasses", &RETURNS),
];

/// The strategy of a kind.
pub fn strategy(group: &str, resource: &str) -> &'static dyn Strategy {
    STRATEGIES.iter().find(|row| row.0 == group && row.1 == resource).map_or(&DEFAULT, |row| row.2)
}
