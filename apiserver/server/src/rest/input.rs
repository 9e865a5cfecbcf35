//! Bodies of writes: decoded against the kind's facts, defaulted, and checked against the path.

use api::codec::{self, ContentType, Strictness, TypeMeta};
use api::facts::{Gvk, Ty};
use api::status::Status;
use serde_json::Value;

use super::Call;
use crate::fields;
use crate::negotiate::content_type;

/// Decodes the body as an object of the path's kind, with defaults.
pub fn object(call: &Call, strictness: Strictness) -> Result<Value, Status> {
    let gvk = call.kind.gvk();
    let mut object = decode(call, call.kind.ty(), gvk, strictness)?;
    settle(&mut object, gvk);
    Ok(object)
}

/// Completes a decoded or patched object: its kind, its defaults.
pub fn settle(object: &mut Value, gvk: Gvk<'_>) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), gvk.api_version().into());
        map.insert("kind".into(), gvk.kind.into());
    }
    if !object.get("metadata").is_some_and(Value::is_object) {
        fields::set(object, "/metadata", serde_json::json!({}));
    }
    api::defaults::apply(gvk, object);
    if (gvk.group, gvk.version, gvk.kind) == ("autoscaling", "v1", "HorizontalPodAutoscaler") {
        crate::conversion::autoscaler::normalise(object);
    }
    if (gvk.group, gvk.kind) == ("", "Secret") {
        // Before anybody is asked who owns which field: nobody owns `stringData`.
        crate::kinds::core::secret::fold(object);
    }
}

/// Decodes the body as any known type.
pub fn decode(
    call: &Call,
    ty: Ty<'_>,
    gvk: Gvk<'_>,
    strictness: Strictness,
) -> Result<Value, Status> {
    let media = content_type(&call.headers);
    let content = ContentType::from_media_type(&media);
    let built_in = call.kind.is_built_in();
    let content = content.filter(|content| built_in || *content != ContentType::Protobuf);
    let content = content.ok_or_else(|| unsupported(&media, built_in))?;
    decode_bytes(call, ty, gvk, content, strictness)
}

/// Decodes the body, of which the content type is known.
pub fn decode_bytes(
    call: &Call,
    ty: Ty<'_>,
    gvk: Gvk<'_>,
    content: ContentType,
    strictness: Strictness,
) -> Result<Value, Status> {
    let body = &call.body;
    let none = TypeMeta::default();
    let meta = codec::peek(body, content)
        .map_err(|error| Status::bad_request(&error.message(body, &none, gvk)))?;
    if let Some(error) = codec::wrong_kind(&meta, gvk) {
        return Err(Status::bad_request(&error.message(body, &meta, gvk)));
    }
    let decoded = codec::decode(ty, body, content, strictness)
        .map_err(|error| Status::bad_request(&error.message(body, &meta, gvk)))?;
    for warning in decoded.warnings {
        call.warn(warning);
    }
    Ok(decoded.value)
}

/// 415.
pub fn unsupported(media: &str, protobuf: bool) -> Status {
    let mut known = vec!["application/json", "application/yaml"];
    if protobuf {
        known.push("application/vnd.kubernetes.protobuf");
    }
    let known = known.join(", ");
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {known}"
    );
    let _ = media;
    Status::new(415, "UnsupportedMediaType", &message)
}

/// The namespace of the path is the object's; another one is refused.
pub fn check_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    let given = fields::text(object, "/metadata/namespace").to_owned();
    let wanted = call.namespace();
    if given.is_empty() || given == wanted {
        if wanted.is_empty() {
            fields::remove(object, "/metadata/namespace");
        } else {
            fields::set(object, "/metadata/namespace", wanted);
        }
        return Ok(());
    }
    if !call.kind.resource.namespaced {
        fields::remove(object, "/metadata/namespace");
        return Ok(());
    }
    let text =
        "the namespace of the provided object does not match the namespace sent on the request";
    Err(Status::bad_request(text))
}

/// An object that replaces another must say its name.
pub fn check_given_name(call: &Call, object: &Value) -> Result<(), Status> {
    if !fields::text(object, "/metadata/name").is_empty() {
        return Ok(());
    }
    let wanted = &call.info.name;
    Err(Status::bad_request(&format!(
        "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
    )))
}

/// The name of the path is the object's; another one is refused.
pub fn check_name(call: &Call, object: &mut Value) -> Result<(), Status> {
    let given = fields::text(object, "/metadata/name").to_owned();
    let wanted = &call.info.name;
    if given.is_empty() {
        fields::set(object, "/metadata/name", wanted.as_str());
        return Ok(());
    }
    if given == *wanted {
        return Ok(());
    }
    Err(Status::bad_request(&format!(
        "the name of the object ({given}) does not match the name on the URL ({wanted})"
    )))
}
