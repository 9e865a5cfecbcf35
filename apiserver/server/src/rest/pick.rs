//! Selectors at work: which stored objects a list or watch wants.

use api::selector::{Fields, Labels};
use api::status::Status;
use serde_json::{Value, json};
use std::borrow::Cow;

use super::list_options::ListOptions;
use crate::document;
use crate::fields;
use crate::kind::Kind;

/// A compiled choice. Looks no deeper into the bytes than it has to.
#[derive(Debug, Default)]
pub struct Pick {
    labels: Option<Labels>,
    fields: Option<Fields>,
    /// Fields beyond name and namespace: the whole object must be read.
    deep: bool,
}

impl Pick {
    /// Compiles the selectors of a request for a kind.
    pub fn new(kind: &Kind, options: &ListOptions) -> Result<Self, Status> {
        let mut deep = false;
        if let Some(fields) = &options.fields {
            for path in fields.paths().map(|path| core_name(kind, path)) {
                if !kind.resource.selectable_fields.contains(&&*path) {
                    return Err(unknown(kind, &path));
                }
                deep |= !matches!(&*path, "metadata.name" | "metadata.namespace");
            }
        }
        Ok(Self { labels: options.labels.clone(), fields: options.fields.clone(), deep })
    }

    /// Whether everything is wanted.
    pub fn all(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether more than the head of an object must be read: watchers share the parsed tree.
    pub fn is_deep(&self) -> bool {
        self.deep
    }

    /// Whether a stored object is wanted.
    pub fn wants(&self, stored: &[u8]) -> bool {
        if self.all() {
            return true;
        }
        if self.deep {
            return serde_json::from_slice(stored).is_ok_and(|object| self.wants_object(&object));
        }
        let Ok(head) = document::head(stored) else { return false };
        let metadata = head.metadata;
        let labelled = self.labels.as_ref().is_none_or(|labels| labels.matches(&metadata.labels));
        labelled
            && self.fields.as_ref().is_none_or(|fields| {
                fields.matches(|path| match path {
                    "metadata.name" => metadata.name.clone().into_owned(),
                    "metadata.namespace" => metadata.namespace.clone().into_owned(),
                    _ => String::new(),
                })
            })
    }

    /// Whether a parsed object is wanted.
    pub fn wants_object(&self, object: &Value) -> bool {
        let labelled = self.labels.as_ref().is_none_or(|labels| {
            let map = object.pointer("/metadata/labels").and_then(Value::as_object);
            let map = map.into_iter().flatten();
            let map = map.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()));
            labels.matches(&map.collect())
        });
        labelled
            && self.fields.as_ref().is_none_or(|fields| {
                fields.matches(|path| match fields::text(object, "/apiVersion") {
                    "events.k8s.io/v1" => value(object, &new_event_name(path)),
                    "v1" if fields::text(object, "/kind") == "Event" => {
                        value(object, &old_event_name(path))
                    }
                    _ => value(object, path),
                })
            })
    }

    /// The one name that is wanted, if only one is.
    pub fn only_name(&self) -> Option<&str> {
        self.fields.as_ref()?.exact("metadata.name")
    }
}

/// What selectors can see of an object: names, labels and the kind's selectable fields.
pub fn visible(kind: &Kind, object: Value) -> Value {
    if kind.resource.plural == "events" {
        // Small, and their fields have two names each.
        return object;
    }
    let mut seen = json!({});
    let mut keep = |path: &str| {
        if let Some(value) = object.pointer(path) {
            fields::set(&mut seen, path, value.clone());
        }
    };
    ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/labels"]
        .into_iter()
        .for_each(&mut keep);
    for path in &kind.resource.selectable_fields {
        keep(&pointer(path));
    }
    seen
}

/// Where a field that selectors name is found.
fn pointer(path: &str) -> String {
    let path = match path {
        "spec.host" => "spec.nodeName",
        "status.successful" => "status.succeeded",
        _ => path,
    };
    format!("/{}", path.replace('.', "/"))
}

/// A field's value as selectors see it.
fn value(object: &Value, path: &str) -> String {
    match path {
        "status.podIPs" => return addresses(object),
        "source" | "deprecatedSource" => return source(object),
        _ => {}
    }
    match object.pointer(&pointer(path)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => absent(path).to_owned(),
        Some(other) => other.to_string(),
    }
}

/// What a missing field counts as.
fn absent(path: &str) -> &'static str {
    match path {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        "status.successful" | "status.succeeded" => "0",
        _ => "",
    }
}

/// An event's field by the name that selectors are declared with.
fn core_name<'a>(kind: &Kind, path: &'a str) -> Cow<'a, str> {
    if kind.resource.group == "events.k8s.io" {
        return old_event_name(path).into();
    }
    path.into()
}

/// A field of a new event by its name in old ones.
fn old_event_name(path: &str) -> String {
    match path.strip_prefix("regarding.") {
        Some(rest) => format!("involvedObject.{rest}"),
        None if path == "reportingController" => "reportingComponent".to_owned(),
        None => path.to_owned(),
    }
}

/// A field of an old event by its name in new ones.
fn new_event_name(path: &str) -> String {
    match path.strip_prefix("involvedObject.") {
        Some(rest) => format!("regarding.{rest}"),
        None if path == "source" => "deprecatedSource".to_owned(),
        None if path == "reportingComponent" => "reportingController".to_owned(),
        None => path.to_owned(),
    }
}

/// All addresses of a Pod.
fn addresses(pod: &Value) -> String {
    let ips = fields::list(pod, "/status/podIPs").iter().map(|ip| fields::text(ip, "/ip"));
    ips.collect::<Vec<_>>().join(",")
}

/// The component that an event comes from, by its old name or its new one.
fn source(event: &Value) -> String {
    let paths = [
        "/source/component",
        "/deprecatedSource/component",
        "/reportingComponent",
        "/reportingController",
    ];
    let mut texts = paths.iter().map(|path| fields::text(event, path));
    texts.find(|text| !text.is_empty()).unwrap_or_default().to_owned()
}

/// 400, in the three wordings that there are.
fn unknown(kind: &Kind, path: &str) -> Status {
    let resource = &kind.resource;
    let text = match (resource.group, resource.plural) {
        ("", "nodes" | "pods" | "namespaces" | "secrets" | "services" | "events")
        | ("", "replicationcontrollers")
        | ("certificates.k8s.io", _) => format!("field label not supported: {path}"),
        ("batch", "jobs") => format!("field label {path:?} not supported for Job"),
        _ => format!(
            "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
    };
    Status::bad_request(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kinds;

    #[test]
    fn selectors_see_all_that_they_may_name() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}, "uid": "u"},
            "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}});
        let kinds = Kinds::built_in();
        let kind = kinds.get("", "v1", "pods").expect("pods");
        let seen = visible(&kind, pod.clone());
        assert!(seen.pointer("/spec/containers").is_none(), "{seen}");
        for path in kind.resource.selectable_fields.iter().chain(&["spec.host"]) {
            assert_eq!(value(&seen, path), value(&pod, path), "{path}");
        }
        assert_eq!(seen.pointer("/metadata/labels"), pod.pointer("/metadata/labels"));
    }
}
