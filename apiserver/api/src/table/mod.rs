//! Tables: what `kubectl get` prints, computed by the server.
//!
//! A printer turns an object into the cells of a row; [`PRINTERS`] says which kind has which.
//! Columns come from the facts. A kind without a printer shows its name and age under those headings.
//!
//! Cells of a row are all of the kind's, those of `-o wide` included; the client leaves some out.
//! Ages are relative to the time that the caller passes.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod core;
mod flowcontrol;
mod networking;
mod node;
mod pod;
mod rbac;
mod registration;
mod resource;
mod row;
mod service;
mod storage;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::row::Row;
use crate::facts::Resource;

pub use self::row::human_duration;

/// Computes the cells of an object.
type Printer = fn(&Row<'_>) -> Vec<Value>;

/// Group, resource and printer.
const PRINTERS: &[(&str, &str, Printer)] = &[
    ("", "configmaps", core::config_map),
    ("", "endpoints", networking::endpoints),
    ("", "events", core::event),
    ("", "limitranges", core::created_at),
    ("", "namespaces", core::namespace),
    ("", "nodes", node::node),
    ("", "persistentvolumeclaims", storage::claim),
    ("", "persistentvolumes", storage::volume),
    ("", "pods", pod::pod),
    ("", "podtemplates", core::pod_template),
    ("", "replicationcontrollers", apps::replication_controller),
    ("", "resourcequotas", core::resource_quota),
    ("", "secrets", core::secret),
    ("", "services", service::service),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", admission::mutating_policy),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", admission::binding),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", admission::webhooks),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", admission::validating_policy),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", admission::binding),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", admission::webhooks),
    ("apiextensions.k8s.io", "customresourcedefinitions", registration::definition),
    ("apiregistration.k8s.io", "apiservices", registration::service),
    ("apps", "controllerrevisions", apps::controller_revision),
    ("apps", "daemonsets", apps::daemon_set),
    ("apps", "deployments", apps::deployment),
    ("apps", "replicasets", apps::replica_set),
    ("apps", "statefulsets", apps::stateful_set),
    ("autoscaling", "horizontalpodautoscalers", autoscaling::autoscaler),
    ("batch", "cronjobs", batch::cron_job),
    ("batch", "jobs", batch::job),
    ("certificates.k8s.io", "certificatesigningrequests", certificates::signing_request),
    ("certificates.k8s.io", "clustertrustbundles", certificates::trust_bundle),
    ("certificates.k8s.io", "podcertificaterequests", certificates::pod_request),
    ("coordination.k8s.io", "leases", core::lease),
    ("discovery.k8s.io", "endpointslices", networking::endpoint_slice),
    ("events.k8s.io", "events", core::event),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", flowcontrol::schema),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", flowcontrol::level),
    ("networking.k8s.io", "ingressclasses", networking::ingress_class),
    ("networking.k8s.io", "ingresses", networking::ingress),
    ("networking.k8s.io", "ipaddresses", networking::ip_address),
    ("networking.k8s.io", "networkpolicies", networking::network_policy),
    ("networking.k8s.io", "servicecidrs", networking::service_cidr),
    ("node.k8s.io", "runtimeclasses", node::runtime_class),
    ("policy", "poddisruptionbudgets", apps::disruption_budget),
    ("rbac.authorization.k8s.io", "clusterrolebindings", rbac::binding),
    ("rbac.authorization.k8s.io", "clusterroles", core::created_at),
    ("rbac.authorization.k8s.io", "rolebindings", rbac::binding),
    ("rbac.authorization.k8s.io", "roles", core::created_at),
    ("resource.k8s.io", "devicetaintrules", resource::taint_rule),
    ("resource.k8s.io", "resourceclaims", resource::claim),
    ("resource.k8s.io", "resourceslices", resource::slice),
    ("scheduling.k8s.io", "priorityclasses", core::priority_class),
    ("storage.k8s.io", "csidrivers", storage::csi_driver),
    ("storage.k8s.io", "csinodes", storage::csi_node),
    ("storage.k8s.io", "csistoragecapacities", core::created_at),
    ("storage.k8s.io", "storageclasses", storage::class),
    ("storage.k8s.io", "volumeattachments", storage::attachment),
    ("storage.k8s.io", "volumeattributesclasses", storage::attributes_class),
    ("storagemigration.k8s.io", "storageversionmigrations", registration::migration),
];

/// Objects of one resource as a table, without the objects themselves.
pub fn table(resource: &Resource, objects: &[Value], now: Timestamp) -> Value {
    let columns: Vec<Value> = resource
        .columns
        .iter()
        .map(|column| {
            json!({"name": column.name, "type": column.ty, "format": column.format,
                "description": column.description, "priority": column.priority})
        })
        .collect();
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, now)).collect();
    // Upstream's general converter leaves the list unmade when there is nothing to list.
    let general = resource.columns.iter().any(|column| column.name == "Created At");
    let rows = if rows.is_empty() && general { Value::Null } else { Value::Array(rows) };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": columns, "rows": rows})
}

fn row(resource: &Resource, object: &Value, now: Timestamp) -> Value {
    let row = Row { object, now };
    let mut printers = PRINTERS.iter();
    let printer =
        printers.find(|(group, plural, _)| (*group, *plural) == (resource.group, resource.plural));
    let cells = match printer {
        Some((_, _, printer)) => printer(&row),
        None => by_heading(resource, &row),
    };
    let mut out = json!({"cells": cells});
    if (resource.group, resource.plural) == ("", "pods")
        && let Some(conditions) = pod::conditions(&row)
    {
        out["conditions"] = conditions;
    }
    out
}

/// Cells of a kind without a printer.
fn by_heading(resource: &Resource, row: &Row<'_>) -> Vec<Value> {
    let cell = |name: &str| match name {
        "Name" => row.name(),
        "Age" => row.age(),
        "Created At" => row.text("/metadata/creationTimestamp").into(),
        _ => Value::Null,
    };
    resource.columns.iter().map(|column| cell(&column.name)).collect()
}
