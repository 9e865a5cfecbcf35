//! HorizontalPodAutoscalers: half-loaded pods by default, and how fast the number may change.

use serde_json::{Value, json};

use super::edit::{child, is_empty, made, put, put_zero};

/// Where version 1 keeps metrics that it has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

/// A HorizontalPodAutoscaler, of version 1 or 2.
pub(super) fn autoscaler(object: &mut Value) {
    let first = object.get("apiVersion").and_then(Value::as_str) == Some("autoscaling/v1");
    // Other metrics of version 1 lie in an annotation; whether they are any shows when it is read.
    let others = object.pointer("/metadata/annotations").and_then(|all| all.get(METRICS)).is_some();
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

fn rules(rules: &mut Value, policies: Value) {
    put_zero(rules, "selectPolicy", "Max");
    if is_empty(rules, "policies") {
        rules["policies"] = policies;
    }
}
