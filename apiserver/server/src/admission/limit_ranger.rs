//! LimitRanges: defaults for what containers ask for, and bounds for Pods, containers and claims.

use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::resources::{Amounts, amounts, of_pod};
use super::{Operation, Plugin, Review, lookup};
use crate::fields;

/// Tells which defaults were set.
const ANNOTATION: &str = "/metadata/annotations/kubernetes.io~1limit-ranger";

/// The plugin.
pub(super) struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    fn handles(&self, review: &Review<'_>) -> bool {
        let resize = review.subresource() == "resize" && review.operation == Operation::Update;
        let claim =
            review.is("", "persistentvolumeclaims") && review.operation != Operation::Delete;
        review.creates("", "pods") || claim || (review.is_any_door("", "pods") && resize)
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(object) = object.filter(|_| review.creates("", "pods")) else { return Ok(()) };
        for range in ranges(review).await? {
            set_defaults(object, &range);
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        let pod = review.is_any_door("", "pods");
        for range in ranges(review).await? {
            let mut errors = Vec::new();
            for limit in fields::list(&range, "/spec/limits") {
                if pod {
                    check_pod(limit, object, &mut errors)
                } else {
                    check_claim(limit, object, &mut errors)
                }
            }
            match errors.as_slice() {
                [] => {}
                [one] => return Err(review.forbidden(Some(object), one)),
                many => {
                    let all = format!("[{}]", many.join(", "));
                    return Err(review.forbidden(Some(object), &all));
                }
            }
        }
        Ok(())
    }
}

async fn ranges(review: &Review<'_>) -> Result<Vec<Value>, Status> {
    lookup::all(review.call, "", "limitranges", review.call.namespace()).await
}

/// Fills in what containers leave out.
fn set_defaults(pod: &mut Value, range: &Value) {
    let mut wanted = [serde_json::Map::new(), serde_json::Map::new()];
    for limit in fields::list(range, "/spec/limits") {
        if fields::text(limit, "/type") == "Container" {
            for (at, key) in ["defaultRequest", "default"].into_iter().enumerate() {
                let defaults = limit.get(key).and_then(Value::as_object);
                wanted[at].extend(defaults.cloned().into_iter().flatten());
            }
        }
    }
    let mut done = Vec::new();
    for (list, noun) in
        [("/spec/containers", "container"), ("/spec/initContainers", "init container")]
    {
        for container in fields::list_mut(pod, list) {
            let name = fields::text(container, "/name").to_owned();
            for (at, what) in ["request", "limit"].into_iter().enumerate() {
                let set = fill(container, &format!("/resources/{what}s"), &wanted[at]);
                if !set.is_empty() {
                    done.push(format!("{} {what} for {noun} {name}", set.join(", ")));
                }
            }
        }
    }
    if !done.is_empty() {
        let text = format!("LimitRanger plugin set: {}", done.join("; "));
        set_annotation(pod, text);
    }
}

fn set_annotation(pod: &mut Value, text: String) {
    if pod.pointer("/metadata/annotations").is_none_or(Value::is_null) {
        fields::set(pod, "/metadata/annotations", serde_json::json!({}));
    }
    let key = ANNOTATION.rsplit('/').next().unwrap_or_default().replace("~1", "/");
    let annotations = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(key, text.into());
    }
}

/// Adds what is missing; tells what that was.
fn fill(container: &mut Value, path: &str, wanted: &serde_json::Map<String, Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in wanted {
        let there = container.pointer(path).and_then(|map| map.get(name)).is_some();
        if !there {
            if container.pointer(path).is_none_or(Value::is_null) {
                fields::set(container, path, serde_json::json!({}));
            }
            if let Some(map) = container.pointer_mut(path).and_then(Value::as_object_mut) {
                map.insert(name.clone(), amount.clone());
            }
            set.push(name.clone());
        }
    }
    set.sort();
    set
}

fn check_pod(limit: &Value, pod: &Value, errors: &mut Vec<String>) {
    let kind = fields::text(limit, "/type");
    let null = Value::Null;
    let spec = pod.get("spec").unwrap_or(&null);
    match kind {
        "Container" => {
            let containers = fields::list(spec, "/containers").iter();
            for container in containers.chain(fields::list(spec, "/initContainers")) {
                let requests = amounts(container.pointer("/resources/requests"));
                let limits = amounts(container.pointer("/resources/limits"));
                check(limit, kind, &requests, &limits, errors);
            }
        }
        "Pod" => {
            check(limit, kind, &of_pod(spec, "requests"), &of_pod(spec, "limits"), errors);
        }
        _ => {}
    }
}

fn check_claim(limit: &Value, claim: &Value, errors: &mut Vec<String>) {
    let kind = fields::text(limit, "/type");
    if kind != "PersistentVolumeClaim" {
        return;
    }
    let requests = amounts(claim.pointer("/spec/resources/requests"));
    let none = Amounts::new();
    for (name, least) in amounts(limit.get("min")) {
        errors.extend(below(kind, &name, least, &requests, &none));
    }
    for (name, most) in amounts(limit.get("max")) {
        let start = format!("maximum {name} usage per {kind} is {most}");
        match requests.get(&name) {
            None => errors.push(format!("{start}.  No request is specified")),
            Some(wanted) if *wanted > most => {
                errors.push(format!("{start}, but request is {wanted}"));
            }
            Some(_) => {}
        }
    }
}

/// Compares with `min`, `max` and `maxLimitRequestRatio`.
fn check(
    limit: &Value,
    kind: &str,
    requests: &Amounts,
    limits: &Amounts,
    errors: &mut Vec<String>,
) {
    for (name, least) in amounts(limit.get("min")) {
        errors.extend(below(kind, &name, least, requests, limits));
    }
    for (name, most) in amounts(limit.get("max")) {
        let start = format!("maximum {name} usage per {kind} is {most}");
        match (limits.get(&name), requests.get(&name)) {
            (None, _) => errors.push(format!("{start}.  No limit is specified")),
            (Some(limit), _) if *limit > most => {
                errors.push(format!("{start}, but limit is {limit}"));
            }
            (_, Some(request)) if *request > most => {
                errors.push(format!("{start}, but request is {request}"));
            }
            _ => {}
        }
    }
    for (name, most) in amounts(limit.get("maxLimitRequestRatio")) {
        let start = format!("{name} max limit to request ratio per {kind} is {most}, but");
        let positive = |amounts: &Amounts| amounts.get(&name).copied().filter(|a| !a.is_zero());
        match (positive(requests), positive(limits)) {
            (None, _) => errors.push(format!("{start} no request is specified or request is 0")),
            (_, None) => errors.push(format!("{start} no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = float(limit.milli_value()) / float(request.milli_value());
                if ratio * 1000.0 > float(most.milli_value()) {
                    errors.push(format!("{start} provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people, as upstream computes it")]
fn float(n: i64) -> f64 {
    n as f64
}

fn below(
    kind: &str,
    name: &str,
    least: api::quantity::Quantity,
    requests: &Amounts,
    limits: &Amounts,
) -> Option<String> {
    let start = format!("minimum {name} usage per {kind} is {least}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{start}.  No request is specified")),
        (Some(request), _) if *request < least => {
            Some(format!("{start}, but request is {request}"))
        }
        (_, Some(limit)) if *limit < least => Some(format!("{start}, but limit is {limit}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_get_defaults_and_an_annotation_tells() {
        let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m",
            "memory": "256Mi"}, "defaultRequest": {"cpu": "100m", "memory": "256Mi"}}]}});
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c"},
            {"name": "d", "resources": {"requests": {"cpu": "50m"}}}]}});
        set_defaults(&mut pod, &range);
        assert_eq!(
            pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for \
             container c; memory request for container d; cpu, memory limit for container d"
        );
        assert_eq!(pod["spec"]["containers"][1]["resources"]["requests"]["cpu"], "50m");
    }

    #[test]
    fn bounds_are_refused_in_upstreams_words() {
        let limit = json!({"type": "Pod", "max": {"memory": "1Gi"}, "min": {"cpu": "500m"},
            "maxLimitRequestRatio": {"cpu": "2"}});
        let container = |cpu: &str| {
            json!({"resources": {"limits": {"cpu": cpu, "memory": "600Mi"},
                "requests": {"cpu": "100m"}}})
        };
        let pod = json!({"spec": {"containers": [container("2"), container("1")]}});
        let mut errors = Vec::new();
        check_pod(&limit, &pod, &mut errors);
        assert_eq!(
            errors,
            [
                "minimum cpu usage per Pod is 500m, but request is 200m",
                "maximum memory usage per Pod is 1Gi, but limit is 1200Mi",
                "cpu max limit to request ratio per Pod is 2, but provided ratio is 15.000000",
            ]
        );
    }
}
