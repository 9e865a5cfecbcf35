//! HorizontalPodAutoscalers: half-loaded pods by default, and how fast the number may change.

use serde_json::{Value, json};

use super::edit::{child, is_empty, made, put, put_zero};

/// Where version 1 keeps metrics that it has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

/// A HorizontalPodAutoscaler, of version 1 or 2.
pub(super) fn autoscaler(object: &mut Value) {
    let first = object.get("apiVersion").and_then(Value::as_str) == Some("autoscaling/v1");
    let others = has_others(object);
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "minReplicas", 1);
    if first {
        if !others {
            put(spec, "targetCPUUtilizationPercentage", 80);
        }
        return;
    }
    if is_empty(spec, "metrics") {
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    let Some(behavior) = child(spec, "behavior") else { return };
    if let Some(up) = made(behavior, "scaleUp") {
        put(up, "stabilizationWindowSeconds", 0);
        rules(
            up,
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
    }
    if let Some(down) = made(behavior, "scaleDown") {
        rules(down, json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

/// Whether version 1 has metrics in the annotation for those that it has no field for.
fn has_others(object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations");
    let text = annotations.and_then(|all| all.get(METRICS)).and_then(Value::as_str);
    let read = text.and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    read.is_some_and(|metrics| !metrics.is_empty())
}

fn rules(rules: &mut Value, policies: Value) {
    put_zero(rules, "selectPolicy", "Max");
    if is_empty(rules, "policies") {
        rules["policies"] = policies;
    }
}
