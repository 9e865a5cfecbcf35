//! Autoscalers in versions 1 and 2. What version 1 has no fields for lies in annotations, in forms
//! of their own: metrics as version 1 once had them, the behaviour as upstream's inner type.

use api::facts::Gvk;
use serde_json::{Map, Value, json};

use crate::fields;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ANNOTATIONS: &str = "/metadata/annotations";

/// What a metric asks for, and what it has.
const WANTED: &str = "target";
const FOUND: &str = "current";

/// Version 1 as it comes out of version 2: annotations in their usual form, unusable ones gone.
pub fn normalise(object: &mut Value) {
    let gvk = |version| Gvk { group: "autoscaling", version, kind: "HorizontalPodAutoscaler" };
    let mut second = to_second(std::mem::take(object), gvk("v2"));
    let entries = fields::remove(&mut second, "/metadata/managedFields");
    api::defaults::apply(gvk("v2"), &mut second);
    if let Some(entries) = entries {
        fields::set(&mut second, "/metadata/managedFields", entries);
    }
    *object = to_first(second, gvk("v1"));
}

/// A status of version 1 lies in annotations too: a write to the object leaves them as they were,
/// one to its status leaves all the others.
pub fn keep(object: &mut Value, old: &Value, status: bool) {
    for key in [METRICS, BEHAVIOR, CURRENT, CONDITIONS] {
        if [CURRENT, CONDITIONS].contains(&key) == status {
            continue;
        }
        let path = format!("{ANNOTATIONS}/{}", key.replace('/', "~1"));
        match old.pointer(&path).and_then(Value::as_str) {
            Some(text) => set_annotation(object, key, text.to_owned()),
            None => {
                let all = object.pointer_mut(ANNOTATIONS).and_then(Value::as_object_mut);
                drop(all.and_then(|all| all.remove(key)));
            }
        }
    }
    if object.pointer(ANNOTATIONS).is_some_and(|all| *all == json!({})) {
        fields::remove(object, ANNOTATIONS);
    }
}

/// Version 1 as version 2.
pub fn to_second(mut object: Value, wanted: Gvk<'_>) -> Value {
    fields::set(&mut object, "/apiVersion", wanted.api_version());
    let of = |value: Value, word| items(value).iter().map(|item| second(item, word)).collect();
    let mut metrics: Vec<Value> =
        annotation(&mut object, METRICS).map_or_else(Vec::new, |value| of(value, WANTED));
    if let Some(percent) = fields::remove(&mut object, "/spec/targetCPUUtilizationPercentage") {
        metrics
            .push(cpu(json!({"target": {"type": "Utilization", "averageUtilization": percent}})));
    }
    if !metrics.is_empty() {
        fields::set(&mut object, "/spec/metrics", metrics);
    }
    if let Some(behavior) = annotation(&mut object, BEHAVIOR) {
        fields::set(&mut object, "/spec/behavior", lower(behavior));
    }
    let current: Option<Vec<Value>> =
        annotation(&mut object, CURRENT).map(|value| of(value, FOUND));
    let percent = fields::remove(&mut object, "/status/currentCPUUtilizationPercentage");
    let only =
        percent.map(|percent| vec![cpu(json!({"current": {"averageUtilization": percent}}))]);
    let current = current.or(only).unwrap_or_default();
    let conditions = annotation(&mut object, CONDITIONS).map(items).unwrap_or_default();
    if object.get("status").is_some_and(Value::is_object) {
        // The newer version writes no zero, and an empty list as null.
        let current = if current.is_empty() { Value::Null } else { Value::Array(current) };
        fields::set(&mut object, "/status/currentMetrics", current);
        if fields::integer(&object, "/status/currentReplicas") == Some(0) {
            fields::remove(&mut object, "/status/currentReplicas");
        }
        if !conditions.is_empty() {
            let conditions: Vec<Value> = conditions.into_iter().map(without_nulls).collect();
            fields::set(&mut object, "/status/conditions", conditions);
        }
    }
    object
}

/// Version 2 as version 1.
pub fn to_first(mut object: Value, wanted: Gvk<'_>) -> Value {
    fields::set(&mut object, "/apiVersion", wanted.api_version());
    let mut others = Vec::new();
    for metric in take_list(&mut object, "/spec/metrics") {
        let percent = metric.pointer("/resource/target/averageUtilization");
        match percent.filter(|_| is_cpu(&metric)).cloned() {
            Some(percent) => {
                fields::set(&mut object, "/spec/targetCPUUtilizationPercentage", percent);
            }
            None => others.push(first(&metric, WANTED)),
        }
    }
    annotate(&mut object, METRICS, others);
    let current = take_list(&mut object, "/status/currentMetrics");
    let percent = current
        .iter()
        .filter(|metric| is_cpu(metric))
        .find_map(|metric| metric.pointer("/resource/current/averageUtilization").cloned());
    if let Some(percent) = percent {
        fields::set(&mut object, "/status/currentCPUUtilizationPercentage", percent);
    }
    let current = current.iter().map(|metric| first(metric, FOUND)).collect();
    annotate(&mut object, CURRENT, current);
    let conditions = take_list(&mut object, "/status/conditions");
    annotate(&mut object, CONDITIONS, conditions.iter().map(condition).collect());
    if object.get("status").is_some_and(Value::is_object)
        && !fields::has(&object, "/status/currentReplicas")
    {
        fields::set(&mut object, "/status/currentReplicas", 0);
    }
    if let Some(behavior) = fields::remove(&mut object, "/spec/behavior") {
        set_annotation(&mut object, BEHAVIOR, behavior_text(&behavior));
    }
    object
}

fn cpu(mut resource: Value) -> Value {
    fields::set(&mut resource, "/name", "cpu");
    json!({"type": "Resource", "resource": resource})
}

fn is_cpu(metric: &Value) -> bool {
    fields::text(metric, "/type") == "Resource" && fields::text(metric, "/resource/name") == "cpu"
}

/// The field of a type of metrics.
fn source(kind: &str) -> &'static str {
    match kind {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => "external",
    }
}

/// Members in this order, without those that are not there.
fn ordered(members: &[(&str, Option<String>)]) -> String {
    let there = members.iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
    let all: Vec<String> = there.map(|(key, text)| format!("\"{key}\":{text}")).collect();
    format!("{{{}}}", all.join(","))
}

fn at(value: &Value, path: &str) -> Option<String> {
    value.pointer(path).filter(|value| !value.is_null()).map(Value::to_string)
}

fn selector(value: &Value) -> Option<String> {
    let selector = value.pointer("/metric/selector")?;
    let parts = ["matchLabels", "matchExpressions"];
    Some(ordered(&parts.map(|key| (key, at(selector, &format!("/{key}"))))))
}

/// A metric of version 2 in the old form.
fn first(metric: &Value, word: &str) -> String {
    let kind = fields::text(metric, "/type");
    let field = source(kind);
    let Some(from) = metric.get(field) else {
        return ordered(&[("type", at(metric, "/type"))]);
    };
    let amount = |key: &str| at(from, &format!("/{word}/{key}"));
    let zero = || Some("\"0\"".to_owned());
    let name = at(from, "/metric/name");
    let keys = ["Value", "AverageValue", "AverageUtilization"].map(|key| format!("{word}{key}"));
    let [value, average, percent] = &keys;
    let text = match field {
        "object" => {
            let of = ["kind", "name", "apiVersion"];
            let of = of.map(|key| (key, at(from, &format!("/describedObject/{key}"))));
            ordered(&[
                ("target", Some(ordered(&of))),
                ("metricName", name),
                (value, amount("value").or_else(zero)),
                ("selector", selector(from)),
                ("averageValue", amount("averageValue")),
            ])
        }
        "pods" => ordered(&[
            ("metricName", name),
            (average, amount("averageValue").or_else(zero)),
            ("selector", selector(from)),
        ]),
        "external" => ordered(&[
            ("metricName", name),
            ("metricSelector", selector(from)),
            (value, amount("value").or_else(|| zero().filter(|_| word == FOUND))),
            (average, amount("averageValue")),
        ]),
        _ => ordered(&[
            ("name", at(from, "/name")),
            (percent, amount("averageUtilization")),
            (average, amount("averageValue").or_else(|| zero().filter(|_| word == FOUND))),
            ("container", at(from, "/container")),
        ]),
    };
    ordered(&[("type", at(metric, "/type")), (field, Some(text))])
}

/// A metric of the old form in version 2.
fn second(metric: &Value, word: &str) -> Value {
    let kind = fields::text(metric, "/type");
    let field = source(kind);
    let Some(from) = metric.get(field) else { return json!({"type": kind}) };
    let mut to = json!({});
    let mut put = |path: &str, value: Option<&Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            fields::set(&mut to, path, value.clone());
        }
    };
    put("/name", from.get("name"));
    put("/container", from.get("container"));
    put("/metric/name", from.get("metricName"));
    put("/metric/selector", from.get("selector").or_else(|| from.get("metricSelector")));
    for key in ["kind", "name", "apiVersion"] {
        put(&format!("/describedObject/{key}"), from.pointer(&format!("/target/{key}")));
    }
    let value = from.get(format!("{word}Value"));
    let average = from.get(format!("{word}AverageValue")).or_else(|| from.get("averageValue"));
    let percent = from.get(format!("{word}AverageUtilization"));
    put(&format!("/{word}/value"), value);
    put(&format!("/{word}/averageValue"), average);
    put(&format!("/{word}/averageUtilization"), percent);
    if word == WANTED {
        let kind = match (percent, average) {
            (Some(_), _) => "Utilization",
            (None, Some(_)) => "AverageValue",
            (None, None) if value.is_some() => "Value",
            (None, None) => "AverageValue",
        };
        put("/target/type", Some(&kind.into()));
    }
    json!({"type": kind, field: to})
}

fn condition(condition: &Value) -> String {
    let null = || Some("null".to_owned());
    ordered(&[
        ("type", at(condition, "/type")),
        ("status", at(condition, "/status")),
        ("lastTransitionTime", at(condition, "/lastTransitionTime").or_else(null)),
        ("reason", at(condition, "/reason")),
        ("message", at(condition, "/message")),
    ])
}

/// The behaviour as upstream's inner type writes it: every member, in capitals.
fn behavior_text(behavior: &Value) -> String {
    let or_null = |value: &Value, path: &str| at(value, path).or_else(|| Some("null".to_owned()));
    let policy = |policy: &Value| {
        let keys = [("Type", "/type"), ("Value", "/value"), ("PeriodSeconds", "/periodSeconds")];
        ordered(&keys.map(|(key, path)| (key, or_null(policy, path))))
    };
    let rules = |rules: &Value| {
        let policies: Vec<String> = fields::list(rules, "/policies").iter().map(policy).collect();
        ordered(&[
            ("StabilizationWindowSeconds", or_null(rules, "/stabilizationWindowSeconds")),
            ("SelectPolicy", or_null(rules, "/selectPolicy")),
            ("Policies", Some(format!("[{}]", policies.join(",")))),
            ("Tolerance", or_null(rules, "/tolerance")),
        ])
    };
    let part = |key: &str| Some(behavior.get(key).map_or_else(|| "null".to_owned(), rules));
    ordered(&[("ScaleUp", part("scaleUp")), ("ScaleDown", part("scaleDown"))])
}

/// Keys with small first letters, nulls gone.
fn lower(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let small = |key: String| {
                let mut chars = key.chars();
                chars.next().map_or_else(String::new, |first| {
                    first.to_lowercase().chain(chars).collect::<String>()
                })
            };
            let members = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(key, value)| (small(key), lower(value))).collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(lower).collect()),
        other => other,
    }
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    value
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn take_list(object: &mut Value, path: &str) -> Vec<Value> {
    fields::remove(object, path).map(items).unwrap_or_default()
}

fn annotate(object: &mut Value, key: &str, items: Vec<String>) {
    if !items.is_empty() {
        set_annotation(object, key, format!("[{}]", items.join(",")));
    }
}

fn set_annotation(object: &mut Value, key: &str, text: String) {
    if !object.pointer(ANNOTATIONS).is_some_and(Value::is_object) {
        fields::set(object, ANNOTATIONS, Map::new());
    }
    let annotations = object.pointer_mut(ANNOTATIONS).and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(key.to_owned(), text.into());
    }
}

/// Takes what an annotation says, if it says anything.
fn annotation(object: &mut Value, key: &str) -> Option<Value> {
    let annotations = object.pointer_mut(ANNOTATIONS)?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        fields::remove(object, ANNOTATIONS);
    }
    serde_json::from_str(text.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gvk(version: &str) -> Gvk<'_> {
        Gvk { group: "autoscaling", version, kind: "HorizontalPodAutoscaler" }
    }

    fn second_version(spec: Value) -> Value {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h"}, "spec": spec})
    }

    #[test]
    fn an_autoscaler_keeps_what_version_1_can_not_say() {
        let target = |value: &str| json!({"type": "AverageValue", "averageValue": value});
        let two = second_version(json!({
            "behavior": {"scaleUp": {"selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}]}},
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": target("1")}},
                {"type": "Resource", "resource": {"name": "memory", "target": target("1Gi")}},
                cpu(json!({"target": {"type": "Utilization", "averageUtilization": 50}}))]}));
        let one = to_first(two.clone(), gvk("v1"));
        assert_eq!(one["spec"]["targetCPUUtilizationPercentage"], json!(50));
        assert_eq!(to_second(one, gvk("v2")), two);
    }

    #[test]
    fn annotations_have_upstreams_form() {
        let two = second_version(json!({
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "q"}, "target": {"type": "Value", "value": "5"}}}]}));
        let one = to_first(two, gvk("v1"));
        let annotation = |key: &str| one["metadata"]["annotations"][key].as_str().expect("text");
        let metrics = r#"[{"type":"External","external":{"metricName":"q","targetValue":"5"}}]"#;
        assert_eq!(annotation(METRICS), metrics);
        let behavior = concat!(
            r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":5,"SelectPolicy":null,"#,
            r#""Policies":[],"Tolerance":null}}"#
        );
        assert_eq!(annotation(BEHAVIOR), behavior);
    }

    #[test]
    fn a_write_to_the_object_leaves_the_statuss_annotations_and_the_other_way_round() {
        let with = |all: Value| json!({"metadata": {"annotations": all}});
        let old = with(json!({METRICS: "[1]", CONDITIONS: "[2]"}));
        let mut new = with(json!({METRICS: "[3]", CURRENT: "[4]"}));
        keep(&mut new, &old, false);
        assert_eq!(new, with(json!({METRICS: "[3]", CONDITIONS: "[2]"})));
        let mut new = with(json!({BEHAVIOR: "{}", CURRENT: "[4]"}));
        keep(&mut new, &old, true);
        assert_eq!(new, with(json!({METRICS: "[1]", CURRENT: "[4]"})));
        let mut made = with(json!({CONDITIONS: "[5]"}));
        keep(&mut made, &Value::Null, false);
        assert_eq!(made, json!({"metadata": {}}));
    }

    #[test]
    fn an_unusable_annotation_goes() {
        let mut one = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {METRICS: "not json", CURRENT: "{"}},
            "spec": {"targetCPUUtilizationPercentage": 80}});
        normalise(&mut one);
        assert_eq!(one["metadata"], json!({"name": "h"}));
        assert_eq!(one["spec"]["targetCPUUtilizationPercentage"], json!(80));
    }
}
