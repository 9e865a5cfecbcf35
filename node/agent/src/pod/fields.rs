//! What a Pod may know about itself: fields and resources of the downward API.

use super::amount::{self, milli, whole};
use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is known about the node and the Pod's place on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The Pod's addresses.
    pub(crate) pod_ips: Vec<String>,
    /// The node's addresses.
    pub(crate) host_ips: Vec<String>,
    /// Name of the node.
    pub(crate) node: String,
    /// What the node can give, for limits that are not set.
    pub(crate) allocatable: amount::List,
}

/// The value of a field; `Err` names what is wrong.
pub(crate) fn field(
    pod: &Pod,
    place: &Place,
    selector: &ObjectFieldSelector,
) -> Result<String, String> {
    let meta = &pod.metadata;
    let path = selector.field_path.as_str();
    if let Some(value) = subscript(path, "metadata.labels", meta.labels.as_ref()) {
        return Ok(value);
    }
    if let Some(value) = subscript(path, "metadata.annotations", meta.annotations.as_ref()) {
        return Ok(value);
    }
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => place.node.clone(),
        "spec.serviceAccountName" => account.unwrap_or_default(),
        "status.hostIP" => place.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => place.host_ips.join(","),
        "status.podIP" => place.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => place.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The value of `prefix['key']`, empty when there is no such key; `None` when the path is another
/// one.
fn subscript(path: &str, prefix: &str, map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
    Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// A map as lines of `key="value"` with Go's escapes.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let mut made = String::new();
    for (key, value) in map.into_iter().flatten() {
        if !made.is_empty() {
            made.push('\n');
        }
        write!(made, "{key}={}", quoted(value)).expect("writing to a String cannot fail");
    }
    made
}

/// A text in double quotes with escapes.
fn quoted(text: &str) -> String {
    let mut made = String::from('"');
    for c in text.chars() {
        match c {
            '"' => made.push_str("\\\""),
            '\\' => made.push_str("\\\\"),
            '\n' => made.push_str("\\n"),
            '\r' => made.push_str("\\r"),
            '\t' => made.push_str("\\t"),
            c if c.is_control() => {
                write!(made, "\\x{:02x}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => made.push(c),
        }
    }
    made.push('"');
    made
}

/// The value of a resource of a container.
pub(crate) fn resource(
    container: &Container,
    place: &Place,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let resources = container.resources.as_ref();
    let (list, name) = match selector.resource.split_once('.') {
        Some(("limits", name)) => (resources.and_then(|all| all.limits.as_ref()), name),
        Some(("requests", name)) => (resources.and_then(|all| all.requests.as_ref()), name),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let limit = selector.resource.starts_with("limits");
    let fallback = limit.then(|| place.allocatable.get(name)).flatten();
    let value = list.and_then(|list| list.get(name)).filter(|quantity| milli(quantity) > 0);
    let quantity = value.or(fallback).cloned().unwrap_or_default();
    let divisor = selector.divisor.as_ref().filter(|divisor| milli(divisor) > 0);
    let value = match name {
        "cpu" => {
            let divisor = divisor.map_or(1000, milli);
            ceiling(milli(&quantity), divisor)
        }
        _ => ceiling(whole(&quantity), divisor.map_or(1, whole)),
    };
    Ok(value.to_string())
}

/// A quotient rounded up.
fn ceiling(value: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    value / divisor + i64::from(value % divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u",
                "labels": {"app": "web", "x": "a\"b"}, "annotations": {"note": "two\nlines"},
            },
            "spec": {"serviceAccountName": "sa", "containers": [{
                "name": "c", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
            }]},
        }))
        .unwrap()
    }

    fn of(path: &str) -> Result<String, String> {
        let place = Place { pod_ips: vec!["10.0.0.2".into()], ..Place::default() };
        let selector = ObjectFieldSelector { field_path: path.into(), ..Default::default() };
        field(&pod(), &place, &selector)
    }

    #[test]
    fn fields_are_found_by_path() {
        assert_eq!(of("metadata.name").unwrap(), "p");
        assert_eq!(of("metadata.labels['app']").unwrap(), "web");
        assert_eq!(of("metadata.labels['none']").unwrap(), "");
        assert_eq!(of("status.podIP").unwrap(), "10.0.0.2");
        assert_eq!(of("metadata.labels").unwrap(), "app=\"web\"\nx=\"a\\\"b\"");
        assert_eq!(of("metadata.annotations").unwrap(), "note=\"two\\nlines\"");
        assert!(of("spec.hostname").is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let place = Place::default();
        let of = |resource: &str, divisor: &str| {
            let selector = serde_json::from_value(json!({
                "resource": resource, "divisor": divisor,
            }));
            super::resource(container, &place, &selector.unwrap()).unwrap()
        };
        assert_eq!(of("limits.cpu", "0"), "1");
        assert_eq!(of("limits.cpu", "1m"), "250");
        assert_eq!(of("limits.memory", "1Mi"), "64");
        assert_eq!(of("requests.cpu", "1"), "0");
    }
}
