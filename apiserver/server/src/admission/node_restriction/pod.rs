//! A node's Pods: it may only make mirror Pods of its own, report on its Pods, and end them.

use api::status::Status;
use serde_json::Value;

use crate::admission::{Operation, Review, lookup};
use crate::fields;

/// Marks mirror Pods.
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// Checks a write to a Pod; the inner result is the reason of a refusal.
pub(super) async fn check(
    review: &Review<'_>,
    node: &str,
    object: Option<&Value>,
) -> Result<Result<(), String>, Status> {
    Ok(match (review.operation, object, review.old) {
        (Operation::Create, Some(pod), _) if review.subresource().is_empty() => {
            return create(review, node, pod).await;
        }
        (Operation::Update, Some(new), Some(old)) if review.subresource() == "status" => {
            status(node, new, old)
        }
        (Operation::Delete, _, Some(old)) if fields::text(old, "/spec/nodeName") != node => {
            Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        (Operation::Delete, _, _) => Ok(()),
        _ => Err(format!("unexpected operation {:?}, node {node:?}", review.operation)),
    })
}

/// Checks an eviction.
pub(super) async fn check_eviction(
    review: &Review<'_>,
    node: &str,
) -> Result<Result<(), String>, Status> {
    let call = review.call;
    let pod = lookup::object(call, "", "pods", call.namespace(), &call.info.name).await?;
    let own = pod.is_none_or(|pod| fields::text(&pod, "/spec/nodeName") == node);
    let why = || format!("node {node} can only evict pods with spec.nodeName set to itself");
    Ok(if own { Ok(()) } else { Err(why()) })
}

fn status(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    if fields::text(old, "/spec/nodeName") != node {
        return Err(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if new.pointer("/metadata/labels") != old.pointer("/metadata/labels") {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    let claims = "/status/resourceClaimStatuses";
    if new.pointer(claims) != old.pointer(claims) {
        return Err(format!("node {node:?} cannot update resource claim statues"));
    }
    Ok(())
}

async fn create(
    review: &Review<'_>,
    node: &str,
    pod: &Value,
) -> Result<Result<(), String>, Status> {
    if !fields::has(pod, MIRROR) {
        return Ok(Err(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only \
             create mirror pods"
        )));
    }
    if fields::text(pod, "/spec/nodeName") != node {
        return Ok(Err(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        )));
    }
    let owner = match owner(node, pod) {
        Ok(owner) => owner,
        Err(why) => return Ok(Err(why)),
    };
    let found = lookup::object(review.call, "", "nodes", "", node).await?;
    let Some(found) = found else { return Err(Status::not_found("", "nodes", node)) };
    let (given, real) = (fields::text(owner, "/uid"), fields::text(&found, "/metadata/uid"));
    if given != real {
        return Ok(Err(format!("node {node} UID mismatch: expected {given} got {real}")));
    }
    Ok(references(node, pod))
}

/// The one owner that a mirror Pod must have.
fn owner<'a>(node: &str, pod: &'a Value) -> Result<&'a Value, String> {
    let owners = fields::list(pod, "/metadata/ownerReferences");
    let wrong =
        || format!("node {node:?} can only create pods with an owner reference set to itself");
    let [owner] = owners else { return Err(wrong()) };
    let text = |path| fields::text(owner, path);
    if text("/apiVersion") != "v1" || text("/kind") != "Node" || text("/name") != node {
        return Err(wrong());
    }
    if !fields::flag(owner, "/controller") {
        return Err(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if fields::flag(owner, "/blockOwnerDeletion") {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    Ok(owner)
}

/// Mirror Pods have no objects of the API behind them.
fn references(node: &str, pod: &Value) -> Result<(), String> {
    let containers = ["/spec/containers", "/spec/initContainers"];
    let containers = containers.into_iter().flat_map(|path| fields::list(pod, path));
    let uses_map = |container: &Value| {
        fields::list(container, "/envFrom").iter().any(|e| fields::has(e, "/configMapRef"))
            || fields::list(container, "/env")
                .iter()
                .any(|env| fields::has(env, "/valueFrom/configMapKeyRef"))
    };
    let volumes = fields::list(pod, "/spec/volumes");
    let has = |path: &str| volumes.iter().any(|volume| fields::has(volume, path));
    let what = if containers.into_iter().any(uses_map) || has("/configMap") {
        "configmaps"
    } else if has("/persistentVolumeClaim") {
        "persistentvolumeclaims"
    } else if !fields::list(pod, "/spec/resourceClaims").is_empty() {
        "resourceclaims"
    } else {
        return Ok(());
    };
    Err(format!("node {node:?} can not create pods that reference {what}"))
}
