//! Tokens that a node asks for: only for its own Pods, by their uid, for audiences they name.

use api::status::Status;
use serde_json::Value;

use crate::admission::{Review, lookup};
use crate::fields;

/// Checks a request for a token; the inner result is the reason of a refusal.
pub(super) async fn check(
    review: &Review<'_>,
    node: &str,
    object: Option<&Value>,
) -> Result<Result<(), String>, Status> {
    let refuse = |why: &str| Ok(Err(why.to_owned()));
    let Some(request) = object else { return Ok(Ok(())) };
    let bound = |path: &str| fields::text(request, &format!("/spec/boundObjectRef/{path}"));
    if (bound("kind"), bound("apiVersion")) != ("Pod", "v1") || bound("name").is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if bound("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let namespace = review.call.namespace();
    let pod = lookup::object(review.call, "", "pods", namespace, bound("name")).await?;
    let Some(pod) = pod else { return Err(Status::not_found("", "pods", bound("name"))) };
    if fields::text(&pod, "/metadata/uid") != bound("uid") {
        return Ok(Err(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object \
             might have been deleted and then recreated",
            bound("uid")
        )));
    }
    if fields::text(&pod, "/spec/nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audiences = fields::texts(request, "/spec/audiences");
    match audiences.as_slice() {
        [] => Ok(Ok(())),
        [audience] if names(&pod, audience) || is_own(review, audience) => Ok(Ok(())),
        [audience] => Ok(Err(format!(
            "{} is not authorized to request tokens for audience {audience:?}",
            review.call.user.name
        ))),
        _ => refuse("node may only request 0 or 1 audiences"),
    }
}

/// Whether the Pod projects a token for the audience.
fn names(pod: &Value, audience: &str) -> bool {
    let volumes = fields::list(pod, "/spec/volumes").iter();
    let mut sources = volumes.flat_map(|volume| fields::list(volume, "/projected/sources"));
    sources.any(|source| fields::text(source, "/serviceAccountToken/audience") == audience)
}

/// Whether the audience is this API server itself.
fn is_own(review: &Review<'_>, audience: &str) -> bool {
    audience == review.call.server.access.tokens.issuer()
}
