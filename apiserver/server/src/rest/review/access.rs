//! The access reviews: may somebody do something?

use api::status::{FieldError, Status};
use serde_json::{Map, Value, json};

use super::answered;
use crate::access::Attributes;
use crate::fields;
use crate::identity::UserInfo;
use crate::rest::Call;

/// Group of the access reviews.
const GROUP: &str = "authorization.k8s.io";
const RESOURCE: &str = "/spec/resourceAttributes";
const PATH: &str = "/spec/nonResourceAttributes";

/// SubjectAccessReview: may the user that the review names?
pub(super) async fn of_subject(call: &Call, review: Value) -> Result<Value, Status> {
    let mut errors = check_spec(&review);
    check_subject(&review, &mut errors);
    check_metadata(&review, "must be empty", &mut errors);
    refuse(errors)?;
    Ok(answer(call, &subject(&review), review).await)
}

/// LocalSubjectAccessReview: may that user in this namespace?
pub(super) async fn local(call: &Call, mut review: Value) -> Result<Value, Status> {
    let mut errors = check_spec(&review);
    check_subject(&review, &mut errors);
    let mut bare = review.clone();
    fields::remove(&mut bare, "/metadata/namespace");
    fields::remove(&mut bare, "/metadata/managedFields");
    if bare.get("metadata").and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
        let mut metadata = review["metadata"].clone();
        fields::remove(&mut metadata, "/managedFields");
        let text = "must be empty except for namespace";
        errors.push(FieldError::invalid_raw("metadata", shown(&metadata), text));
    }
    if fields::has(&review, PATH) && !fields::has(&review, RESOURCE) {
        let text = "disallowed on this kind of request";
        errors.push(FieldError::invalid("spec.nonResourceAttributes", go_path(&review), text));
    }
    let given = fields::text(&review, "/spec/resourceAttributes/namespace");
    if fields::has(&review, RESOURCE) && given != call.namespace() {
        let at = "spec.resourceAttributes.namespace";
        errors.push(FieldError::invalid(at, given, "must match metadata.namespace"));
    }
    refuse(errors)?;
    fields::set(&mut review, "/metadata/namespace", call.namespace());
    Ok(answer(call, &subject(&review), review).await)
}

/// SelfSubjectAccessReview: may I?
pub(super) async fn own(call: &Call, review: Value) -> Result<Value, Status> {
    let mut errors = check_spec(&review);
    check_metadata(&review, "must be empty", &mut errors);
    refuse(errors)?;
    Ok(answer(call, &call.user, review).await)
}

/// 422 as the original words it for kinds that its validation has no name for.
fn refuse(errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(GROUP, "", "", errors))
}

/// Exactly one of resource and path.
fn check_spec(review: &Value) -> Vec<FieldError> {
    let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    match (fields::has(review, RESOURCE), fields::has(review, PATH)) {
        (true, true) => vec![FieldError::invalid("spec", go_path(review), text)],
        (false, false) => vec![FieldError::invalid("spec", Value::Null, text)],
        _ => Vec::new(),
    }
}

fn check_subject(review: &Value, errors: &mut Vec<FieldError>) {
    let nobody = fields::text(review, "/spec/user").is_empty()
        && fields::list(review, "/spec/groups").is_empty();
    if nobody {
        let text = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", text));
    }
}

fn check_metadata(review: &Value, text: &str, errors: &mut Vec<FieldError>) {
    let metadata = review.get("metadata").and_then(Value::as_object);
    let own = metadata.is_some_and(|map| map.keys().any(|key| key != "managedFields"));
    if own {
        errors.push(FieldError::invalid_raw("metadata", shown(&review["metadata"]), text));
    }
}

/// Metadata as the original prints it.
fn shown(metadata: &Value) -> String {
    api::status::ordered(api::facts::registry().object_meta(), metadata)
}

/// The path attributes as the original prints its own type.
fn go_path(review: &Value) -> Value {
    let text = |key: &str| fields::text(review, &format!("{PATH}/{key}")).to_owned();
    json!({"Path": text("path"), "Verb": text("verb")})
}

/// The user that a review names.
fn subject(review: &Value) -> UserInfo {
    let texts = |value: &Value| {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let extra = review.pointer("/spec/extra").and_then(Value::as_object).into_iter().flatten();
    UserInfo {
        name: fields::text(review, "/spec/user").to_owned(),
        uid: fields::text(review, "/spec/uid").to_owned(),
        groups: review.pointer("/spec/groups").map(texts).unwrap_or_default(),
        extra: extra.map(|(key, values)| (key.to_lowercase(), texts(values))).collect(),
    }
}

/// Asks the authorizers and writes down what they say.
async fn answer(call: &Call, user: &UserInfo, review: Value) -> Value {
    let resource = review.pointer(RESOURCE).cloned().unwrap_or_default();
    let path = review.pointer(PATH).cloned().unwrap_or_default();
    let wanted = if fields::has(&review, RESOURCE) {
        Attributes {
            verb: fields::text(&resource, "/verb"),
            is_resource: true,
            group: fields::text(&resource, "/group"),
            resource: fields::text(&resource, "/resource"),
            subresource: fields::text(&resource, "/subresource"),
            namespace: fields::text(&resource, "/namespace"),
            name: fields::text(&resource, "/name"),
            ..Attributes::default()
        }
    } else {
        Attributes {
            verb: fields::text(&path, "/verb"),
            path: fields::text(&path, "/path"),
            ..Attributes::default()
        }
    };
    let verdict = call.server.access.decide(user, &wanted).await;
    let mut status = Map::new();
    status.insert("allowed".into(), verdict.allowed.into());
    if !verdict.reason.is_empty() && (verdict.allowed || verdict.error.is_empty()) {
        status.insert("reason".into(), verdict.reason.into());
    }
    if !verdict.error.is_empty() {
        status.insert("evaluationError".into(), verdict.error.into());
    }
    answered(review, Value::Object(status))
}
