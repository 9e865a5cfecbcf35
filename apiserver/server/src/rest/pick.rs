//! Selectors at work: which stored objects a list or watch wants.

use api::selector::{Fields, Labels};
use api::status::Status;
use serde_json::Value;

use super::list_options::ListOptions;
use crate::document;
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
            for path in fields.paths() {
                if !kind.resource.selectable_fields.contains(&path) {
                    return Err(unknown(kind, path));
                }
                deep |= !matches!(path, "metadata.name" | "metadata.namespace");
            }
        }
        Ok(Self { labels: options.labels.clone(), fields: options.fields.clone(), deep })
    }

    /// Whether everything is wanted.
    pub fn all(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
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

    fn wants_object(&self, object: &Value) -> bool {
        let labelled = self.labels.as_ref().is_none_or(|labels| {
            let map = object.pointer("/metadata/labels").and_then(Value::as_object);
            let map = map.into_iter().flatten();
            let map = map.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()));
            labels.matches(&map.collect())
        });
        labelled
            && self.fields.as_ref().is_none_or(|fields| fields.matches(|path| value(object, path)))
    }

    /// The one name that is wanted, if only one is.
    pub fn only_name(&self) -> Option<&str> {
        self.fields.as_ref()?.exact("metadata.name")
    }
}

/// A field's value as selectors see it.
fn value(object: &Value, path: &str) -> String {
    let path = match path {
        "spec.host" => "spec.nodeName",
        "status.podIPs" => "status.podIP",
        "reportingComponent" => return reporter(object),
        "source" => "source.component",
        _ => path,
    };
    let pointer = format!("/{}", path.replace('.', "/"));
    match object.pointer(&pointer) {
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

fn reporter(object: &Value) -> String {
    let text = crate::fields::text(object, "/reportingComponent");
    let text = if text.is_empty() { crate::fields::text(object, "/source/component") } else { text };
    text.to_owned()
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
