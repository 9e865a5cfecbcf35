//! Autoscalers: what they measure against what they want.

use serde_json::{Value, json};

use super::row::{NONE, Row, UNKNOWN, UNSET, few, plain, text};

/// How many metrics a cell names.
const MOST: usize = 2;

/// Cells of a HorizontalPodAutoscaler, in either version.
pub(super) fn autoscaler(row: &Row<'_>) -> Vec<Value> {
    let reference = |key: &str| row.text(&format!("/spec/scaleTargetRef/{key}"));
    let least = row.get("/spec/minReplicas").map_or_else(|| UNSET.to_owned(), plain);
    vec![
        row.name(),
        format!("{}/{}", reference("kind"), reference("name")).into(),
        targets(row).into(),
        least.into(),
        row.int("/spec/maxReplicas").into(),
        row.int("/status/currentReplicas").into(),
        row.age(),
    ]
}

fn targets(row: &Row<'_>) -> String {
    let old = row.text("/apiVersion") == "autoscaling/v1";
    let (wanted, current) = if old {
        first_version(row)
    } else {
        (row.list("/spec/metrics").to_vec(), row.list("/status/currentMetrics").to_vec())
    };
    if wanted.is_empty() {
        return NONE.to_owned();
    }
    let null = Value::Null;
    let metrics = wanted.iter().enumerate();
    let texts = metrics.map(|(at, metric)| target(metric, current.get(at).unwrap_or(&null)));
    few(texts.collect(), MOST, ", ")
}

/// Metrics of the first version: CPU has fields of its own, the others are in annotations.
fn first_version(row: &Row<'_>) -> (Vec<Value>, Vec<Value>) {
    let cpu = |key: &str, utilization: &Value| {
        json!({"type": "Resource", "resource": {"name": "cpu",
            key: {"averageUtilization": utilization}}})
    };
    let wanted = row.get("/spec/targetCPUUtilizationPercentage");
    let current = row.get("/status/currentCPUUtilizationPercentage");
    let mut metrics = (
        wanted.map(|wanted| cpu("target", wanted)).into_iter().collect::<Vec<Value>>(),
        current.map(|current| cpu("current", current)).into_iter().collect::<Vec<Value>>(),
    );
    for (name, key, list) in
        [("metrics", "target", &mut metrics.0), ("current-metrics", "current", &mut metrics.1)]
    {
        let path = format!("/metadata/annotations/autoscaling.alpha.kubernetes.io~1{name}");
        let parsed: Vec<Value> = serde_json::from_str(row.text(&path)).unwrap_or_default();
        list.extend(parsed.iter().map(|metric| from_annotation(metric, key)));
    }
    metrics
}

/// A metric of an annotation (`targetAverageValue`) in today's form (`target.averageValue`).
fn from_annotation(metric: &Value, key: &str) -> Value {
    let kind = text(metric, "/type");
    let mut name = kind.to_owned();
    if let Some(first) = name.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    let source = metric.get(&name).cloned().unwrap_or_default();
    let either = |suffix: &str| {
        let names = [format!("{key}{suffix}"), suffix_name(suffix)];
        names.iter().find_map(|name| source.get(name).cloned())
    };
    let mut amounts = json!({});
    for (suffix, field) in [
        ("AverageUtilization", "averageUtilization"),
        ("AverageValue", "averageValue"),
        ("Value", "value"),
    ] {
        if let Some(value) = either(suffix) {
            amounts[field] = value;
        }
    }
    json!({"type": kind, name: {"name": source.get("name"), key: amounts}})
}

fn suffix_name(suffix: &str) -> String {
    let mut name = suffix.to_owned();
    if let Some(first) = name.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    name
}

fn target(metric: &Value, current: &Value) -> String {
    let (key, named) = match text(metric, "/type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let of = |value: &Value, side: &str, field: &str| {
        let found = value.pointer(&format!("/{key}/{side}/{field}"));
        found.filter(|found| !found.is_null()).map(plain)
    };
    let unknown = |found: Option<String>| found.unwrap_or_else(|| UNKNOWN.to_owned());
    let wanted = |field: &str| of(metric, "target", field);
    let now = |field: &str| of(current, "current", field);
    if named {
        let name = text(metric, &format!("/{key}/name"));
        return match wanted("averageValue") {
            Some(value) => format!("{name}: {}/{value}", unknown(now("averageValue"))),
            None => {
                let percent = |found: Option<String>| found.map(|found| format!("{found}%"));
                let value = percent(wanted("averageUtilization"));
                let value = value.unwrap_or_else(|| "<auto>".to_owned());
                format!("{name}: {}/{value}", unknown(percent(now("averageUtilization"))))
            }
        };
    }
    match wanted("averageValue") {
        Some(value) if key == "pods" => format!("{}/{value}", unknown(now("averageValue"))),
        Some(value) => format!("{}/{value} (avg)", unknown(now("averageValue"))),
        None => format!("{}/{}", unknown(now("value")), wanted("value").unwrap_or_default()),
    }
}
