//! Kinds that are served in two versions but stored once: events, and autoscalers.

use api::facts::Gvk;
use serde_json::{Map, Value, json};

use crate::fields;

/// Old and new names of an event's fields: core, `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 8] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

/// Whether a resource is served in more than one version.
pub fn is_convertible(group: &str, resource: &str) -> bool {
    matches!(
        (group, resource),
        ("" | "events.k8s.io", "events") | ("autoscaling", "horizontalpodautoscalers")
    )
}

/// Brings a stored object into the version that is asked for.
pub fn convert(object: Value, wanted: Gvk<'_>) -> Value {
    let is = fields::text(&object, "/apiVersion");
    if is == wanted.api_version() {
        return object;
    }
    match (is, wanted.group, wanted.version) {
        ("v1", "events.k8s.io", "v1") => event(object, wanted, |(old, new)| (old, new)),
        ("events.k8s.io/v1", "", "v1") => event(object, wanted, |(old, new)| (new, old)),
        ("autoscaling/v1", "autoscaling", "v2") => autoscaler_v2(object, wanted),
        ("autoscaling/v2", "autoscaling", "v1") => autoscaler_v1(object, wanted),
        _ => object,
    }
}

fn event(
    mut object: Value,
    wanted: Gvk<'_>,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    if let Some(map) = object.as_object_mut() {
        let moved: Vec<(&str, Value)> = EVENT_FIELDS
            .iter()
            .map(|pair| direction(*pair))
            .filter_map(|(from, to)| map.remove(from).map(|value| (to, value)))
            .collect();
        map.extend(moved.into_iter().map(|(key, value)| (key.to_owned(), value)));
        reporter(map, wanted.group.is_empty());
        map.insert("apiVersion".into(), wanted.api_version().into());
    }
    object
}

/// Old events always name who reports, new ones only if somebody does.
fn reporter(map: &mut Map<String, Value>, old: bool) {
    if old {
        for key in ["reportingComponent", "reportingInstance"] {
            map.entry(key).or_insert_with(|| "".into());
        }
        return;
    }
    for key in ["reportingController", "reportingInstance"] {
        if map.get(key).and_then(Value::as_str) == Some("") {
            map.remove(key);
        }
    }
}

/// Annotations that stand for fields of another version: an object's inner form has none of them.
const STAND_INS: [&str; 2] =
    ["autoscaling.alpha.kubernetes.io/", "deprecated.daemonset.template.generation"];

/// An object without annotations that only stand for fields.
pub fn without_stand_ins(mut object: Value) -> Value {
    let path = "/metadata/annotations";
    let annotations = object.pointer_mut(path).and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.retain(|key, _| !STAND_INS.iter().any(|start| key.starts_with(start)));
        if annotations.is_empty() {
            fields::remove(&mut object, path);
        }
    }
    object
}

/// What version 1 can't say lies in these annotations.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn cpu_metric(percent: Value) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

fn autoscaler_v2(mut object: Value, wanted: Gvk<'_>) -> Value {
    fields::set(&mut object, "/apiVersion", wanted.api_version());
    let mut metrics = annotation(&mut object, METRICS).unwrap_or_default();
    if let Some(percent) = fields::remove(&mut object, "/spec/targetCPUUtilizationPercentage") {
        metrics.push(cpu_metric(percent));
    }
    if !metrics.is_empty() {
        fields::set(&mut object, "/spec/metrics", metrics);
    }
    if let Some(behavior) = annotation_value(&mut object, BEHAVIOR) {
        fields::set(&mut object, "/spec/behavior", behavior);
    }
    let mut current = annotation(&mut object, CURRENT).unwrap_or_default();
    let percent = fields::remove(&mut object, "/status/currentCPUUtilizationPercentage");
    if let Some(percent) = percent {
        current.push(json!({"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": percent}}}));
    }
    // The newer version writes no zero, and an empty list as null.
    if object.get("status").is_some_and(Value::is_object) {
        let current = if current.is_empty() { Value::Null } else { Value::Array(current) };
        fields::set(&mut object, "/status/currentMetrics", current);
        if fields::integer(&object, "/status/currentReplicas") == Some(0) {
            fields::remove(&mut object, "/status/currentReplicas");
        }
    }
    if let Some(conditions) = annotation(&mut object, CONDITIONS) {
        fields::set(&mut object, "/status/conditions", conditions);
    }
    object
}

fn autoscaler_v1(mut object: Value, wanted: Gvk<'_>) -> Value {
    fields::set(&mut object, "/apiVersion", wanted.api_version());
    let is_cpu = |metric: &Value| {
        fields::text(metric, "/type") == "Resource"
            && fields::text(metric, "/resource/name") == "cpu"
    };
    let target = "/resource/target/averageUtilization";
    let mut others = Vec::new();
    for metric in take_list(&mut object, "/spec/metrics") {
        match metric.pointer(target).filter(|_| is_cpu(&metric)) {
            Some(percent) => {
                let percent = percent.clone();
                fields::set(&mut object, "/spec/targetCPUUtilizationPercentage", percent);
            }
            None => others.push(metric),
        }
    }
    annotate(&mut object, METRICS, others);
    let mut others = Vec::new();
    for metric in take_list(&mut object, "/status/currentMetrics") {
        match metric.pointer("/resource/current/averageUtilization").filter(|_| is_cpu(&metric)) {
            Some(percent) => {
                let percent = percent.clone();
                fields::set(&mut object, "/status/currentCPUUtilizationPercentage", percent);
            }
            None => others.push(metric),
        }
    }
    annotate(&mut object, CURRENT, others);
    let conditions = take_list(&mut object, "/status/conditions");
    annotate(&mut object, CONDITIONS, conditions);
    if object.get("status").is_some_and(Value::is_object)
        && !fields::has(&object, "/status/currentReplicas")
    {
        fields::set(&mut object, "/status/currentReplicas", 0);
    }
    if let Some(behavior) = fields::remove(&mut object, "/spec/behavior") {
        set_annotation(&mut object, BEHAVIOR, &behavior);
    }
    object
}

fn take_list(object: &mut Value, path: &str) -> Vec<Value> {
    match fields::remove(object, path) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn annotate(object: &mut Value, key: &str, items: Vec<Value>) {
    if !items.is_empty() {
        set_annotation(object, key, &Value::Array(items));
    }
}

fn set_annotation(object: &mut Value, key: &str, value: &Value) {
    if !object.pointer("/metadata/annotations").is_some_and(Value::is_object) {
        fields::set(object, "/metadata/annotations", Map::new());
    }
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(key.to_owned(), value.to_string().into());
    }
}

fn annotation_value(object: &mut Value, key: &str) -> Option<Value> {
    let annotations = object.pointer_mut("/metadata/annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        fields::remove(object, "/metadata/annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn annotation(object: &mut Value, key: &str) -> Option<Vec<Value>> {
    match annotation_value(object, key)? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_to_its_other_group_and_back() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "message": "m", "count": 2,
            "involvedObject": {"name": "p"}, "reason": "r"});
        let new = Gvk { group: "events.k8s.io", version: "v1", kind: "Event" };
        let old = Gvk { group: "", version: "v1", kind: "Event" };
        let there = convert(core.clone(), new);
        assert_eq!((&there["note"], &there["deprecatedCount"]), (&json!("m"), &json!(2)));
        let mut back = convert(there, old);
        for key in ["reportingComponent", "reportingInstance"] {
            assert_eq!(fields::remove(&mut back, &format!("/{key}")), Some(json!("")));
        }
        assert_eq!(back, core);
    }

    #[test]
    fn an_autoscaler_keeps_what_version_1_can_not_say() {
        let two = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h"}, "spec": {"metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "x"}}}, cpu_metric(json!(50))]}});
        let gvk = |version| Gvk { group: "autoscaling", version, kind: "HorizontalPodAutoscaler" };
        let one = convert(two.clone(), gvk("v1"));
        assert_eq!(one["spec"]["targetCPUUtilizationPercentage"], json!(50));
        assert_eq!(convert(one, gvk("v2")), two);
    }
}
