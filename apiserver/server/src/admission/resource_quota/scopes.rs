//! Which objects a quota is about: all, or those within its scopes.

use serde_json::Value;

use crate::fields;
use crate::kind::Kind;

/// Whether all scopes of a quota hold for an object.
pub(super) fn cover(kind: &Kind, quota: &Value, object: &Value) -> bool {
    let plain = fields::texts(quota, "/spec/scopes");
    let mut plain = plain.into_iter().map(|scope| (scope, "Exists", Vec::new()));
    let chosen = fields::list(quota, "/spec/scopeSelector/matchExpressions").iter();
    let mut chosen = chosen.map(|one| {
        let (scope, operator) = (fields::text(one, "/scopeName"), fields::text(one, "/operator"));
        (scope, operator, fields::texts(one, "/values"))
    });
    let holds = |(scope, operator, values): (&str, &str, Vec<&str>)| match kind.resource.plural {
        "pods" => of_pod(scope, operator, &values, object),
        "persistentvolumeclaims" if scope == "VolumeAttributesClass" => {
            let class = fields::text(object, "/spec/volumeAttributesClassName");
            selects(operator, &values, class)
        }
        _ => false,
    };
    plain.all(holds) && chosen.all(holds)
}

fn of_pod(scope: &str, operator: &str, values: &[&str], pod: &Value) -> bool {
    let ends = fields::integer(pod, "/spec/activeDeadlineSeconds").is_some_and(|n| n >= 0);
    let best_effort = fields::text(pod, "/status/qosClass") == "BestEffort";
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => selects(operator, values, fields::text(pod, "/spec/priorityClassName")),
        "CrossNamespacePodAffinity" => looks_elsewhere(pod),
        _ => false,
    }
}

/// An empty name is none.
fn selects(operator: &str, values: &[&str], name: &str) -> bool {
    match operator {
        "In" => !name.is_empty() && values.contains(&name),
        "NotIn" => name.is_empty() || !values.contains(&name),
        "Exists" => !name.is_empty(),
        _ => name.is_empty(),
    }
}

/// Whether a Pod's affinity is about Pods of other namespaces.
fn looks_elsewhere(pod: &Value) -> bool {
    let elsewhere = |term: &Value| {
        !fields::list(term, "/namespaces").is_empty() || fields::has(term, "/namespaceSelector")
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|sort| {
        let path = |when: &str| {
            format!("/spec/affinity/{sort}/{when}DuringSchedulingIgnoredDuringExecution")
        };
        let required = fields::list(pod, &path("required")).iter();
        let preferred = fields::list(pod, &path("preferred")).iter();
        let preferred = preferred.filter_map(|one| one.get("podAffinityTerm"));
        required.chain(preferred).any(elsewhere)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scopes_tell_pods_apart() {
        let pod = json!({"spec": {"priorityClassName": "high", "activeDeadlineSeconds": 5},
            "status": {"qosClass": "Burstable"}});
        let holds = |scope: &str| of_pod(scope, "Exists", &[], &pod);
        assert!(holds("Terminating") && holds("NotBestEffort") && holds("PriorityClass"));
        assert!(!holds("NotTerminating") && !holds("BestEffort"));
        assert!(!holds("CrossNamespacePodAffinity"));
        assert!(of_pod("PriorityClass", "In", &["high"], &pod));
        assert!(!of_pod("PriorityClass", "NotIn", &["high"], &pod));
    }

    #[test]
    fn affinity_to_other_namespaces_is_seen() {
        let pod = json!({"spec": {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}}});
        assert!(looks_elsewhere(&pod));
    }
}
