//! A node's own Node object: no taints taken off, no labels that others rely on.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::admission::{Operation, Review};
use crate::fields;

/// Labels of Kubernetes' own domains that a node may set itself.
const ALLOWED: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Namespaces of labels in which a node may set any.
const OPEN: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Domain of labels that isolate nodes from each other.
const ISOLATION: &str = "node-restriction.kubernetes.io";

/// Checks a write to a Node.
pub(super) fn check(review: &Review<'_>, node: &str, object: Option<&Value>) -> Result<(), String> {
    let name = review.name(object);
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let Some(new) = object else { return Ok(()) };
    let config = |node: &Value| node.pointer("/spec/configSource").cloned();
    match (review.operation, review.old) {
        (Operation::Create, _) => {
            if config(new).is_some() {
                return Err(format!(
                    "node {node:?} is not allowed to create pods with a non-nil configSource"
                ));
            }
            let set = labels(new).into_iter().map(|(key, _)| key).collect();
            forbidden(set, node, "set the following labels")
        }
        (Operation::Update, Some(old)) => {
            if config(new).is_some() && config(new) != config(old) {
                return Err(format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            let taints = |node: &Value| fields::list(node, "/spec/taints").to_vec();
            if taints(new) != taints(old) {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            let owners = |node: &Value| fields::list(node, "/metadata/ownerReferences").to_vec();
            if owners(new) != owners(old) {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            let (before, after) = (labels(old), labels(new));
            let changed = before.symmetric_difference(&after).map(|(key, _)| key.clone());
            forbidden(changed.collect(), node, "modify labels")
        }
        _ => Ok(()),
    }
}

fn labels(node: &Value) -> BTreeSet<(String, String)> {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels.into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn forbidden(changed: BTreeSet<String>, node: &str, what: &str) -> Result<(), String> {
    let bad: Vec<&str> =
        changed.iter().map(String::as_str).filter(|key| is_restricted(key)).collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(format!("node {node:?} is not allowed to {what}: {}", bad.join(", ")))
}

/// Whether a label is none of a node's business.
fn is_restricted(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if within(ISOLATION) {
        return true;
    }
    let system = within("kubernetes.io") || within("k8s.io");
    system && !ALLOWED.contains(&key) && !OPEN.iter().any(|open| within(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_kubernetes_are_restricted_but_for_a_few() {
        for key in ["node-restriction.kubernetes.io/zone", "k8s.io/y", "kubernetes.io/role"] {
            assert!(is_restricted(key), "{key}");
        }
        for key in ["kubernetes.io/hostname", "node.kubernetes.io/x", "example.com/a", "plain"] {
            assert!(!is_restricted(key), "{key}");
        }
    }
}
