//! Kinds that are served in two versions but stored once: events, and autoscalers.

pub mod autoscaler;

use api::facts::{Gvk, Ty, registry, split_api_version};
use serde_json::{Map, Value};

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
        ("autoscaling/v1", "autoscaling", "v2") => autoscaler::to_second(object, wanted),
        ("autoscaling/v2", "autoscaling", "v1") => autoscaler::to_first(object, wanted),
        _ => object,
    }
}

/// An object in the version that an owner of its fields wrote in, with its type there; `None` if
/// it can't be brought there. Events of one group don't count as a version of the other's.
pub fn in_version(object: &Value, api_version: &str) -> Option<(Value, Ty<'static>)> {
    let kind = fields::text(object, "/kind");
    let (group, version) = split_api_version(api_version);
    let (own, _) = split_api_version(fields::text(object, "/apiVersion"));
    let ty = registry().kind(group, version, kind).filter(|_| own == group)?;
    let converted = convert(object.clone(), Gvk { group, version, kind });
    (fields::text(&converted, "/apiVersion") == api_version).then_some((converted, ty))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    /// An apply of a whole autoscaler, in the version that it is written in.
    fn applied(live: Option<&Value>, manager: &str, config: &Value) -> Result<Value, String> {
        let api_version = fields::text(config, "/apiVersion");
        let (group, version) = split_api_version(api_version);
        let kind = "HorizontalPodAutoscaler";
        let live = live.map(|live| convert(live.clone(), Gvk { group, version, kind }));
        let apply = api::patch::Apply {
            manager,
            subresource: "",
            time: "2026-01-01T00:00:00Z",
            ty: registry().kind(group, version, kind).expect("a known kind"),
            api_version,
            door: api::patch::Door::Main,
            force: false,
            convert: in_version,
        };
        apply.apply(live.as_ref(), config).map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_written_through_its_other_group_forgets_who_owned_it() {
        let event = json!({"apiVersion": "v1", "kind": "Event"});
        assert!(in_version(&event, "events.k8s.io/v1").is_none());
        assert!(in_version(&event, "v1").is_some());
    }

    #[test]
    fn who_owns_a_metric_in_one_version_is_asked_in_the_other() {
        let config = |version: &str, spec: Value| {
            json!({"apiVersion": format!("autoscaling/{version}"),
                "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec})
        };
        let metric = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}});
        let two = config("v2", json!({"maxReplicas": 3, "metrics": [metric]}));
        let live = applied(None, "two", &two).expect("applied");
        let other = config("v1", json!({"targetCPUUtilizationPercentage": 60}));
        let refused = "Apply failed with 1 conflict: conflict with \"two\": .spec.metrics";
        assert_eq!(applied(Some(&live), "one", &other), Err(refused.to_owned()));
        let same = config("v1", json!({"targetCPUUtilizationPercentage": 50}));
        assert!(applied(Some(&live), "one", &same).is_ok());
    }
}
