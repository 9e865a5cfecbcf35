//! Field selectors that built-in resources support beyond name and namespace.
//!
//! No published document lists them, so this table is hand-written. How a value is read from an
//! object (dotted path, with few exceptions) is the server's business.

/// Group, plural and the extra fields.
const SELECTABLE: &[(&str, &str, &[&str])] = &[
    (
        "",
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
            "spec.host",
        ],
    ),
    ("", "events", EVENT),
    ("events.k8s.io", "events", EVENT),
    ("", "nodes", &["spec.unschedulable"]),
    ("", "namespaces", &["status.phase", "name"]),
    ("", "secrets", &["type"]),
    ("", "services", &["spec.clusterIP", "spec.type"]),
    ("", "replicationcontrollers", &["status.replicas"]),
    ("batch", "jobs", &["status.successful"]),
    ("certificates.k8s.io", "certificatesigningrequests", &["spec.signerName"]),
    ("certificates.k8s.io", "clustertrustbundles", &["spec.signerName"]),
    (
        "certificates.k8s.io",
        "podcertificaterequests",
        &["spec.signerName", "spec.podName", "spec.nodeName"],
    ),
    ("resource.k8s.io", "resourceslices", &["spec.nodeName", "spec.driver", "spec.pool.name"]),
];

const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// All selectable fields of a resource, name and namespace first.
pub(super) fn fields(group: &str, plural: &str, namespaced: bool) -> Vec<&'static str> {
    let mut all = vec!["metadata.name"];
    if namespaced || plural == "namespaces" {
        all.push("metadata.namespace");
    }
    let extra = SELECTABLE.iter().find(|(g, p, _)| *g == group && *p == plural);
    all.extend(extra.into_iter().flat_map(|(_, _, fields)| fields.iter().copied()));
    all
}
