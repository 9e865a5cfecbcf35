//! `matchLabelKeys` of a new pod: its own values of those labels become conditions of the selector
//! beside them, so that pods of one revision look at each other alone.

use serde_json::{Value, json};

use super::edit::{child, items, made, text};

/// Key of a list of requirements.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// Key of a list of preferences.
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Merges the keys of a new pod's affinity and spread constraints into their selectors. This is no
/// default: the kind's strategy calls it once, when a pod is made.
pub fn merge_label_keys(pod: &mut Value) {
    let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
    let Some(spec) = child(pod, "spec") else { return };
    for one in items(spec, "topologySpreadConstraints") {
        merge(one, &labels);
    }
    let Some(affinity) = child(spec, "affinity") else { return };
    for key in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = child(affinity, key) else { continue };
        for term in items(pods, REQUIRED) {
            merge(term, &labels);
        }
        for preference in items(pods, PREFERRED) {
            if let Some(term) = child(preference, "podAffinityTerm") {
                merge(term, &labels);
            }
        }
    }
}

fn merge(holder: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in items(holder, field).iter().filter_map(|key| key.as_str()) {
            let value = text(labels, key);
            if labels.get(key).is_some() {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let Some(selector) = child(holder, "labelSelector").filter(|_| !added.is_empty()) else {
        return;
    };
    let Some(rules) = made(selector, "matchExpressions") else { return };
    if !rules.is_array() {
        *rules = Value::Array(Vec::new());
    }
    if let Some(rules) = rules.as_array_mut() {
        rules.append(&mut added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_own_label_becomes_a_condition() {
        let mut pod = json!({"metadata": {"labels": {"tier": "back"}}, "spec": {
            "topologySpreadConstraints": [
                {"labelSelector": {"matchLabels": {"app": "a"}}, "matchLabelKeys": ["tier", "none"]},
                {"matchLabelKeys": ["tier"]}]}});
        merge_label_keys(&mut pod);
        let constraints = &pod["spec"]["topologySpreadConstraints"];
        let rule = json!([{"key": "tier", "operator": "In", "values": ["back"]}]);
        assert_eq!(constraints[0]["labelSelector"]["matchExpressions"], rule);
        assert!(constraints[1].get("labelSelector").is_none());
    }
}
