//! What an update of a Pod may change: images, deadlines, tolerations added, scheduling gates removed, and
//! while there are gates, a narrower choice of nodes.

use api::go_text;
use api::status::FieldError;
use serde_json::Value;

use crate::fields;

/// Fields with rules of their own, checked elsewhere.
const CHECKED: [&str; 3] = ["/activeDeadlineSeconds", "/tolerations", "/schedulingGates"];
/// The only metadata that a write through a special door brings.
const IDENTITY: [&str; 5] = ["name", "namespace", "resourceVersion", "uid", "managedFields"];
/// Where the terms are that a node must meet.
const TERMS: &str =
    "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

/// Takes everything but the identity from the object as it was.
pub(super) fn drop_all(object: &mut Value, old: &Value) {
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    *object = old.clone();
    for key in IDENTITY {
        match metadata.get(key) {
            Some(value) => object["metadata"][key] = value.clone(),
            None => drop(fields::remove(object, &format!("/metadata/{key}"))),
        }
    }
}

/// Refuses what may not change.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let null = Value::Null;
    let (now, before) = (new.get("spec").unwrap_or(&null), old.get("spec").unwrap_or(&null));
    for list in ["containers", "initContainers"] {
        let path = format!("/{list}");
        if fields::list(now, &path).len() != fields::list(before, &path).len() {
            let why = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&format!("spec.{list}"), why));
            return;
        }
    }
    let mut masked = now.clone();
    for path in CHECKED {
        fields::copy(&mut masked, before, path);
    }
    let grace = "/terminationGracePeriodSeconds";
    let negative = fields::integer(before, grace).is_some_and(|seconds| seconds < 0);
    if negative && fields::integer(now, grace) == Some(1) {
        fields::copy(&mut masked, before, grace);
    }
    if !fields::list(before, "/schedulingGates").is_empty() {
        gated(&mut masked, before, errors);
    }
    for path in ["/containers", "/initContainers"] {
        let olds = fields::list(before, path).to_vec();
        for (container, old) in fields::list_mut(&mut masked, path).iter_mut().zip(&olds) {
            fields::copy(container, old, "/image");
        }
    }
    if masked != *before {
        let text = "pod updates may not change fields other than `spec.containers[*].image`,\
                    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                    `spec.tolerations` (only additions to existing tolerations),\
                    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                    previously negative)";
        let change = go_text::difference("io.k8s.api.core.v1.PodSpec", before, &masked);
        errors.push(FieldError::forbidden("spec", &format!("{text}{change}")));
    }
}

/// A Pod that nothing may place yet can still be told fewer nodes.
fn gated(masked: &mut Value, before: &Value, errors: &mut Vec<FieldError>) {
    let labels = |spec: &Value| spec.get("nodeSelector").and_then(Value::as_object).cloned();
    let (now, then) = (labels(masked).unwrap_or_default(), labels(before).unwrap_or_default());
    if then.iter().any(|(key, value)| now.get(key) != Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", now, why));
    }
    fields::copy(masked, before, "/nodeSelector");
    if fields::has(before, "/affinity/nodeAffinity") {
        terms(masked, before, errors);
    }
    fields::copy(masked, before, "/affinity/nodeAffinity");
    let empty = |spec: &Value| {
        let affinity = spec.get("affinity").and_then(Value::as_object);
        affinity.is_some_and(serde_json::Map::is_empty)
    };
    if empty(masked) && !fields::has(before, "/affinity") {
        fields::remove(masked, "/affinity");
    }
}

/// Terms of nodes stay as many as they were, and each only asks for more.
fn terms(masked: &Value, before: &Value, errors: &mut Vec<FieldError>) {
    let (now, then) = (fields::list(masked, TERMS), fields::list(before, TERMS));
    if then.is_empty() {
        return;
    }
    let ty = "io.k8s.api.core.v1.NodeSelectorTerm";
    let path = format!("spec{}", TERMS.replace('/', "."));
    if now.len() != then.len() {
        let shown: Vec<String> = now.iter().map(|term| go_text::shown(ty, term)).collect();
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid_raw(&path, format!("[{}]", shown.join(",")), why));
        return;
    }
    for (at, (now, then)) in now.iter().zip(then).enumerate() {
        let added_to = |key: &str| {
            let (now, then) = (fields::list(now, key), fields::list(then, key));
            now.len() >= then.len() && now.iter().zip(then).all(|(now, then)| now == then)
        };
        if !added_to("/matchExpressions") || !added_to("/matchFields") {
            let why = "only additions are allowed (no mutations or deletions)";
            let shown = go_text::shown(ty, now);
            errors.push(FieldError::invalid_raw(&format!("{path}[{at}]"), shown, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(new: &Value, old: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        check(new, old, &mut errors);
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_grace_period_changes_only_from_negative_to_one() {
        let pod = |grace: i64| json!({"spec": {"terminationGracePeriodSeconds": grace}});
        assert!(errors(&pod(1), &pod(-1)).is_empty());
        assert_eq!(errors(&pod(2), &pod(-1)), ["spec"]);
        assert_eq!(errors(&pod(1), &pod(30)), ["spec"]);
    }

    #[test]
    fn containers_are_neither_added_nor_removed() {
        let pod = |names: &[&str]| {
            let all: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": all}})
        };
        assert_eq!(errors(&pod(&["a", "b"]), &pod(&["a"])), ["spec.containers"]);
    }

    #[test]
    fn a_gated_pod_may_only_be_told_fewer_nodes() {
        let pod = |labels: Value| json!({"spec": {"schedulingGates": [{"name": "g"}], "nodeSelector": labels}});
        assert!(errors(&pod(json!({"a": "b", "c": "d"})), &pod(json!({"a": "b"}))).is_empty());
        assert_eq!(errors(&pod(json!({"a": "x"})), &pod(json!({"a": "b"}))), ["spec.nodeSelector"]);
    }
}
