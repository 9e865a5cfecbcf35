//! Resizing a Pod in place: CPU and memory of its containers change and nothing else, and its quality of
//! service stays.

use api::status::FieldError;
use serde_json::{Map, Value};

use super::{change, quality};
use crate::fields;

/// Lists of containers that can be resized.
const LISTS: [&str; 2] = ["containers", "initContainers"];
/// Resources that can change.
const RESIZED: [&str; 2] = ["cpu", "memory"];
/// Annotation of the mirror of a static Pod.
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// Drops all that is no resize.
pub(super) fn only_resources(object: &mut Value, old: &Value) {
    let wanted = object.get("spec").cloned().unwrap_or_default();
    change::drop_all(object, old);
    for list in LISTS {
        let news = fields::list(&wanted, &format!("/{list}"));
        for container in fields::list_mut(object, &format!("/spec/{list}")) {
            let name = fields::text(container, "/name").to_owned();
            if let Some(new) = news.iter().find(|new| fields::text(new, "/name") == name) {
                fields::copy(container, new, "/resources");
                fields::copy(container, new, "/resizePolicy");
            }
        }
    }
    if let Some(resources) = wanted.get("resources") {
        fields::set(object, "/spec/resources", resources.clone());
    }
}

/// Refuses what is no resize, or changes more than it may.
pub(super) fn check(new: &Value, old: &Value) -> Vec<FieldError> {
    if fields::has(old, MIRROR) {
        return vec![FieldError::forbidden("[]", "static pods cannot be resized")];
    }
    if fields::text(old, "/spec/os/name") == "windows" {
        return vec![FieldError::forbidden("[]", "windows pods cannot be resized")];
    }
    let mut errors = Vec::new();
    let class = fields::text(old, "/status/qosClass");
    if class != quality::class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", class, why));
    }
    let mut masked = new.get("spec").cloned().unwrap_or_default();
    for list in LISTS {
        let olds = fields::list(old, &format!("/spec/{list}"));
        let news = fields::list_mut(&mut masked, &format!("/{list}"));
        for (at, (new, old)) in news.iter_mut().zip(olds).enumerate() {
            let path = format!("spec.{list}[{at}].resources");
            removed(new, old, &path, &mut errors);
            forget(new, old);
        }
    }
    fields::copy(&mut masked, &old["spec"], "/resources");
    if masked != without_empty(&old["spec"]) {
        let why = "only cpu and memory resources are mutable";
        errors.push(FieldError::forbidden("spec", why));
    }
    errors
}

/// What was asked for once can be changed, not taken back.
fn removed(new: &Value, old: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (key, noun) in [("requests", "requests"), ("limits", "limits")] {
        let (now, then) = (map(new, key), map(old, key));
        if RESIZED.iter().any(|name| then.contains_key(*name) && !now.contains_key(*name)) {
            let why = format!("resource {noun} cannot be removed");
            errors.push(FieldError::forbidden(&format!("{path}.{key}"), &why));
        }
    }
}

fn map(container: &Value, key: &str) -> Map<String, Value> {
    let map = container.pointer(&format!("/resources/{key}")).and_then(Value::as_object);
    map.cloned().unwrap_or_default()
}

/// Gives a container its old CPU and memory, so that what is left are other changes.
fn forget(new: &mut Value, old: &Value) {
    for key in ["requests", "limits"] {
        let (mut now, then) = (map(new, key), map(old, key));
        for name in RESIZED {
            now.remove(name);
            now.extend(then.get(name).map(|amount| (name.to_owned(), amount.clone())));
        }
        let path = format!("/resources/{key}");
        if now.is_empty() {
            fields::remove(new, &path);
        } else {
            fields::set(new, &path, now);
        }
    }
}

/// A spec whose containers have no empty maps of resources.
fn without_empty(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for list in LISTS {
        for container in fields::list_mut(&mut spec, &format!("/{list}")) {
            let old = container.clone();
            forget(container, &old);
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: &Value) -> Value {
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        pod["status"] = json!({"qosClass": quality::class(&pod)});
        pod
    }

    #[test]
    fn cpu_may_change_and_nothing_else() {
        let old = pod(&json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}));
        let texts = |resources: Value| {
            let errors = check(&pod(&resources), &old);
            errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(texts(json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "3"}})), none);
        let gone = json!({"requests": {"cpu": "500m"}});
        assert_eq!(texts(gone), ["spec.containers[0].resources.limits"]);
        let other = json!({"requests": {"cpu": "1", "x.io/a": "1"}, "limits": {"cpu": "2"}});
        assert_eq!(texts(other), ["spec"]);
        assert_eq!(texts(json!({})).first().map(String::as_str), Some("spec"));
    }

    #[test]
    fn a_resize_drops_labels_and_images() {
        let old = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c",
            "image": "x"}]}});
        let mut new = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {
            "containers": [{"name": "c", "image": "y", "resources": {"limits": {"cpu": "1"}}}]}});
        only_resources(&mut new, &old);
        assert_eq!(new["metadata"], old["metadata"]);
        assert_eq!(
            new["spec"]["containers"],
            json!([{"name": "c", "image": "x",
            "resources": {"limits": {"cpu": "1"}}}])
        );
    }
}
