//! A Pod's RuntimeClass adds its overhead, and says where such Pods can run.

use api::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::resources::amounts;
use super::{Plugin, Review, lookup};
use crate::fields;

/// The plugin.
pub(super) struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn handles(&self, review: &Review<'_>) -> bool {
        review.creates("", "pods")
    }

    async fn mutate(&self, review: &Review<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let Some(pod) = object else { return Ok(()) };
        let Some(class) = class(review, pod).await? else { return Ok(()) };
        apply(&class, pod).map_err(|why| review.forbidden(Some(pod), &why))
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(pod) = object else { return Ok(()) };
        let class = class(review, pod).await?;
        let overhead = class.is_some_and(|class| fields::has(&class, "/overhead"));
        if fields::has(pod, "/spec/overhead") && !overhead {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined \
                       Overhead";
            return Err(review.forbidden(Some(pod), why));
        }
        Ok(())
    }
}

async fn class(review: &Review<'_>, pod: &Value) -> Result<Option<Value>, Status> {
    let name = fields::text(pod, "/spec/runtimeClassName");
    if name.is_empty() {
        return Ok(None);
    }
    let class = lookup::object(review.call, "node.k8s.io", "runtimeclasses", "", name).await?;
    let missing = || {
        let why = format!("pod rejected: RuntimeClass {name:?} not found");
        review.forbidden(Some(pod), &why)
    };
    class.map(Some).ok_or_else(missing)
}

fn apply(class: &Value, pod: &mut Value) -> Result<(), String> {
    if let Some(overhead) = class.pointer("/overhead/podFixed") {
        let given = pod.pointer("/spec/overhead");
        if given.is_some_and(|given| amounts(Some(given)) != amounts(Some(overhead))) {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(why.to_owned());
        }
        fields::set(pod, "/spec/overhead", overhead.clone());
    }
    let selector = class.pointer("/scheduling/nodeSelector").and_then(Value::as_object);
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        let mut merged = pod.pointer("/spec/nodeSelector").cloned().unwrap_or_else(|| json!({}));
        for (key, value) in selector {
            let own = merged.get(key).filter(|own| *own != value);
            if let Some(own) = own {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; \
                     pod.spec.nodeSelector[{key}] = {}",
                    value.as_str().unwrap_or_default(),
                    own.as_str().unwrap_or_default()
                ));
            }
            merged[key] = value.clone();
        }
        fields::set(pod, "/spec/nodeSelector", merged);
    }
    let wanted = fields::list(class, "/scheduling/tolerations");
    if !wanted.is_empty() {
        let mut tolerations = fields::list(pod, "/spec/tolerations").to_vec();
        for toleration in wanted {
            if !tolerations.contains(toleration) {
                tolerations.push(toleration.clone());
            }
        }
        fields::set(pod, "/spec/tolerations", tolerations);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_adds_overhead_and_placement_unless_they_conflict() {
        let class = json!({"overhead": {"podFixed": {"cpu": "100m"}},
            "scheduling": {"nodeSelector": {"zone": "a"},
                "tolerations": [{"key": "k", "operator": "Exists"}]}});
        let mut pod = json!({"spec": {"overhead": {"cpu": "0.1"}, "nodeSelector": {"own": "x"}}});
        apply(&class, &mut pod).expect("no conflict");
        assert_eq!(pod["spec"]["nodeSelector"], json!({"own": "x", "zone": "a"}));
        assert_eq!(fields::list(&pod, "/spec/tolerations").len(), 1);
        let mut other = json!({"spec": {"nodeSelector": {"zone": "b"}}});
        let why = apply(&class, &mut other).expect_err("a conflict");
        assert_eq!(
            why,
            "conflict: runtimeClass.scheduling.nodeSelector[zone] = a; \
             pod.spec.nodeSelector[zone] = b"
        );
    }
}
