//! What a failed Pod means: a Job's Pod failure policy.

use crate::pods;
use k8s_openapi::api::{
    batch::v1::{
        JobSpec, PodFailurePolicyOnExitCodesRequirement as ExitCodes,
        PodFailurePolicyOnPodConditionsPattern as Pattern,
    },
    core::v1::{ContainerStatus, Pod},
};

/// What a failed Pod means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// It counts.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed for good.
    FailIndex,
    /// The Job has failed, for this reason.
    FailJob(String),
}

/// The first rule that matches decides; without one the Pod counts.
pub(crate) fn meaning(spec: &JobSpec, pod: &Pod) -> Meaning {
    let rules = spec.pod_failure_policy.as_ref().map(|policy| policy.rules.as_slice());
    for (number, rule) in rules.unwrap_or_default().iter().enumerate() {
        let found = match (&rule.on_exit_codes, &rule.on_pod_conditions) {
            (Some(codes), _) => by_exit_code(pod, codes),
            (None, Some(patterns)) => by_condition(pod, patterns),
            (None, None) => None,
        };
        let Some(found) = found else { continue };
        return match rule.action.as_str() {
            "Ignore" => Meaning::Ignore,
            "FailIndex" if spec.backoff_limit_per_index.is_some() => Meaning::FailIndex,
            "FailJob" => {
                let action = &rule.action;
                Meaning::FailJob(format!("{found} matching {action} rule at index {number}"))
            }
            _ => Meaning::Count,
        };
    }
    Meaning::Count
}

fn by_exit_code(pod: &Pod, demand: &ExitCodes) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let code = |one: &ContainerStatus| {
        one.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|end| end.exit_code)
    };
    for one in all {
        if demand.container_name.as_ref().is_some_and(|name| *name != one.name) {
            continue;
        }
        let Some(code) = code(one).filter(|code| *code != 0) else { continue };
        let listed = demand.values.contains(&code);
        if (demand.operator == "In") == listed {
            let (name, namespace, pod) = (&one.name, pods::namespace(pod), pods::name(pod));
            return Some(format!(
                "Container {name} for pod {namespace}/{pod} failed with exit code {code}"
            ));
        }
    }
    None
}

fn by_condition(pod: &Pod, patterns: &[Pattern]) -> Option<String> {
    let found = patterns.iter().find(|pattern| {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        pods::condition(pod, &pattern.type_).is_some_and(|one| one.status == wanted)
    })?;
    let (namespace, name) = (pods::namespace(pod), pods::name(pod));
    Some(format!("Pod {namespace}/{name} has condition {}", found.type_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};
    use serde_json::json;

    #[test]
    fn the_first_matching_rule_decides() {
        let spec: JobSpec = object(json!({"template": {}, "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]}}));
        let ended = |code: i32| {
            json!([{"name": "c", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"terminated": {"exitCode": code}}}])
        };
        let disrupted = pod(
            "p",
            json!({"status": {"containerStatuses": ended(42),
            "conditions": [{"type": "DisruptionTarget", "status": "True"}]}}),
        );
        assert_eq!(meaning(&spec, &disrupted), Meaning::Ignore);
        let failed = pod("p", json!({"status": {"containerStatuses": ended(42)}}));
        let text = "Container c for pod ns/p failed with exit code 42 matching FailJob rule at \
                    index 1";
        assert_eq!(meaning(&spec, &failed), Meaning::FailJob(text.into()));
        let other = pod("p", json!({"status": {"containerStatuses": ended(1)}}));
        assert_eq!(meaning(&spec, &other), Meaning::Count);
    }
}
