//! Answers as bytes: objects, lists, tables, metadata alone, errors; in the form that the client chose.

mod yaml;

use api::codec;
use api::facts::{Ty, registry, split_api_version};
use api::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::{Map, Value, json};
use std::io::Write;
use stdx::serve::{Body, empty, full};

use crate::conversion;
use crate::document;
use crate::fields;
use crate::kind::Kind;
use crate::negotiate::{Encoding, Form, Shape, not_acceptable};
use crate::rest::watch::shared::Include;
use crate::rest::{Answer, Call, List, Payload};

/// Bodies above this are compressed for clients that can read it.
const GZIP_FROM: usize = 128 * 1024;

/// Writes a verb's answer.
pub fn answer(call: &Call, answer: Result<Answer, Status>) -> Response<Body> {
    let mut response = match answer {
        Ok(answer) => written(call, answer),
        Err(status) => failure(call.form, &status),
    };
    for warning in call.warnings.lock().iter() {
        warn(&mut response, warning);
    }
    response
}

/// Adds a `Warning` header.
pub fn warn(response: &mut Response<Body>, warning: &str) {
    let text = format!("299 - {}", quoted(warning));
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::WARNING, value);
    }
}

/// A warning as a quoted string of a header.
fn quoted(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
}

fn written(call: &Call, answer: Answer) -> Response<Body> {
    let form = call.form;
    let bytes = match answer.payload {
        Payload::Stream(body) => {
            let kind =
                if call.info.verb == "watch" { form.encoding.stream_type() } else { "text/plain" };
            return respond(answer.code, kind, body);
        }
        Payload::Empty => return respond(answer.code, "text/plain", empty()),
        Payload::Stored { value, revision } => stored(call, &value, revision),
        Payload::Object(object) => object_bytes(call, object),
        Payload::List(list) => list_bytes(call, list),
        Payload::Status(status) => encode(form, &status.to_value(), None),
    };
    match bytes {
        Ok(bytes) => respond_bytes(answer.code, form.encoding.media_type(), bytes, &call.headers),
        Err(status) => failure(form, &status),
    }
}

/// One stored object.
fn stored(call: &Call, value: &[u8], revision: i64) -> Result<Bytes, Status> {
    let resource = &call.kind.resource;
    let convertible = conversion::is_convertible(resource.group, resource.plural);
    if call.form == Form::default() && !convertible {
        return Ok(document::with_revision(value, revision));
    }
    object_bytes(call, tree(&call.kind, value, revision)?)
}

/// A stored object as a tree of the kind's version.
fn tree(kind: &Kind, value: &[u8], revision: i64) -> Result<Value, Status> {
    let object = document::decode(value, revision);
    let object = object.map_err(|error| Status::internal(&error.to_string()))?;
    Ok(conversion::convert(object, kind.gvk()))
}

/// One document in the client's shape.
fn object_bytes(call: &Call, object: Value) -> Result<Bytes, Status> {
    let form = call.form;
    let own = is_own(call, &object);
    match form.shape {
        Shape::Table if own => {
            let include = include(call)?;
            let revision = object.pointer("/metadata/resourceVersion").cloned();
            let mut table = table(&call.kind, vec![object], include);
            if let Some(revision) = revision {
                table["metadata"]["resourceVersion"] = revision;
            }
            encode(form, &table, None)
        }
        Shape::Partial if object.get("metadata").is_some() && !is_status(&object) => {
            encode(form, &partial(object), None)
        }
        Shape::PartialList if own => {
            let text = format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list \
                 (*{}.{})",
                internal_group(call),
                call.kind.resource.kind
            );
            Err(not_acceptable(&text))
        }
        Shape::Table if object.get("kind").and_then(Value::as_str) == Some("Scale") => {
            encode(form, &scale_table(&object), None)
        }
        _ => {
            let ty = own.then(|| call.kind.ty());
            encode(form, &object, ty)
        }
    }
}

/// The group as upstream's own packages are called.
fn internal_group(call: &Call) -> &'static str {
    match call.kind.resource.group.split('.').next().unwrap_or_default() {
        "" => "core",
        group => group,
    }
}

fn is_status(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some("Status")
}

/// A scale as a table.
fn scale_table(scale: &Value) -> Value {
    let column = |name: &str, kind: &str| json!({"name": name, "type": kind, "format": "", "description": name, "priority": 0});
    let number = |path: &str| fields::integer(scale, path).unwrap_or(0);
    let created = fields::text(scale, "/metadata/creationTimestamp").parse::<jiff::Timestamp>();
    let age = created.map(|at| jiff::Timestamp::now().as_second() - at.as_second()).unwrap_or(0);
    let cells = json!([
        fields::text(scale, "/metadata/name"),
        number("/spec/replicas"),
        number("/status/replicas"),
        format!("{age}s"),
    ]);
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": fields::text(scale, "/metadata/resourceVersion")},
        "columnDefinitions": [column("Name", "string"), column("Desired", "integer"),
            column("Available", "integer"), column("Age", "string")],
        "rows": [{"cells": cells, "object": partial(scale.clone())}],
    })
}

/// Whether a document is an object of the path's kind, as against a Scale or a Status.
fn is_own(call: &Call, object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some(call.kind.resource.kind)
}

/// `includeObject`, checked.
fn include(call: &Call) -> Result<Include, Status> {
    match call.info.query.text("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(Status::bad_request(&format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be \
             'Metadata', 'Object', 'None', or empty"
        ))),
    }
}

/// A list in the client's shape.
fn list_bytes(call: &Call, list: List) -> Result<Bytes, Status> {
    let resource = &call.kind.resource;
    let convertible = conversion::is_convertible(resource.group, resource.plural);
    if call.form == Form::default() && !convertible {
        return Ok(plain_list(call, &list));
    }
    let metadata = metadata(&list);
    let trees = list.items.iter().map(|(value, revision)| tree(&call.kind, value, *revision));
    let mut trees = trees.collect::<Result<Vec<Value>, Status>>()?;
    match call.form.shape {
        Shape::Table => {
            let mut table = table(&call.kind, trees, include(call)?);
            table["metadata"] = metadata;
            encode(call.form, &table, None)
        }
        Shape::Partial => {
            let group = internal_group(call);
            let text = format!(
                "you requested PartialObjectMetadata, but the requested object is a list \
                 (*{group}.{})",
                list_kind(&call.kind)
            );
            Err(not_acceptable(&text))
        }
        Shape::PartialList => {
            let items: Vec<Value> = trees.into_iter().map(partial).collect();
            let items = if items.is_empty() { Value::Null } else { items.into() };
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata, "items": items});
            encode(call.form, &list, None)
        }
        Shape::Full => {
            if call.kind.is_built_in() {
                for map in trees.iter_mut().filter_map(Value::as_object_mut) {
                    map.remove("kind");
                    map.remove("apiVersion");
                }
            }
            let list = json!({"kind": list_kind(&call.kind), "apiVersion": resource.api_version(),
                "metadata": metadata, "items": trees});
            encode(call.form, &list, call.kind.list_ty())
        }
    }
}

fn list_kind(kind: &Kind) -> String {
    kind.resource.list_kind.map_or_else(|| format!("{}List", kind.resource.kind), str::to_owned)
}

fn metadata(list: &List) -> Value {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), list.revision.to_string().into());
    if !list.continue_token.is_empty() {
        metadata.insert("continue".into(), list.continue_token.as_str().into());
    }
    if let Some(remaining) = list.remaining {
        metadata.insert("remainingItemCount".into(), remaining.into());
    }
    Value::Object(metadata)
}

/// A JSON list, made of stored bytes without looking into them.
fn plain_list(call: &Call, list: &List) -> Bytes {
    let total: usize = list.items.iter().map(|(value, _)| value.len() + 48).sum();
    let mut out = BytesMut::with_capacity(total + 256);
    let head = json!({"kind": list_kind(&call.kind),
        "apiVersion": call.kind.resource.api_version(), "metadata": metadata(list)});
    let head = head.to_string();
    out.put_slice(head.trim_end_matches('}').as_bytes());
    out.put_slice(&b"}}}"[..head.len() - head.trim_end_matches('}').len() - 1]);
    out.put_slice(b",\"items\":[");
    let built_in = call.kind.is_built_in();
    for (at, (value, revision)) in list.items.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        if built_in {
            document::append_item(&mut out, value, *revision);
        } else {
            document::append(&mut out, value, *revision);
        }
    }
    out.put_slice(b"]}");
    out.freeze()
}

/// The metadata of an object alone.
pub fn partial(mut object: Value) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// Objects as a table.
pub fn table(kind: &Kind, objects: Vec<Value>, include: Include) -> Value {
    let mut table = api::table::table(&kind.resource, &objects, jiff::Timestamp::now());
    let rows = table.get_mut("rows").and_then(Value::as_array_mut);
    for (row, object) in rows.into_iter().flatten().zip(objects) {
        row["object"] = match include {
            Include::None => Value::Null,
            Include::Metadata => partial(conversion::without_stand_ins(object)),
            Include::Object => object,
        };
    }
    table
}

/// A document in an encoding. `ty` is needed for protobuf where apiVersion and kind don't tell.
pub fn encode(form: Form, value: &Value, ty: Option<Ty<'_>>) -> Result<Bytes, Status> {
    match form.encoding {
        Encoding::Json if form.pretty => {
            let mut out = serde_json::to_vec_pretty(value).map_err(unwritable)?;
            out.push(b'\n');
            Ok(out.into())
        }
        Encoding::Json => {
            let mut out = serde_json::to_vec(value).map_err(unwritable)?;
            out.push(b'\n');
            Ok(out.into())
        }
        Encoding::Yaml => Ok(yaml::write(value).into()),
        Encoding::Protobuf => match ty {
            Some(ty) => Ok(codec::encode_protobuf(ty, value).into()),
            None => {
                protobuf(value).ok_or_else(|| Status::internal("no protobuf form of this kind"))
            }
        },
    }
}

fn unwritable(error: serde_json::Error) -> Status {
    Status::internal(&error.to_string())
}

/// A document as protobuf, by its own apiVersion and kind.
pub fn protobuf(value: &Value) -> Option<Bytes> {
    let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = split_api_version(text("apiVersion"));
    let kind = text("kind");
    let ty = registry().kind(group, version, kind);
    let ty = ty.or_else(|| registry().kind("meta.k8s.io", "v1", kind));
    let meta = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
    let ty = ty.or_else(|| registry().find(&meta))?;
    Some(codec::encode_protobuf(ty, value).into())
}

/// An error in the form that the client chose; tables of errors there are none.
pub fn failure(form: Form, status: &Status) -> Response<Body> {
    let form = Form { shape: Shape::Full, ..form };
    let value = status.to_value();
    let (kind, bytes) = match encode(form, &value, None) {
        Ok(bytes) => (form.encoding.media_type(), bytes),
        Err(_) => ("application/json", value.to_string().into()),
    };
    let mut response = respond(status.code, kind, full(bytes));
    if let Some(seconds) = status.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A response of known bytes, compressed if that pays.
pub fn respond_bytes(code: u16, kind: &str, bytes: Bytes, request: &HeaderMap) -> Response<Body> {
    let accepts = request.get_all(header::ACCEPT_ENCODING).iter();
    let gzip = accepts.filter_map(|value| value.to_str().ok()).any(|text| text.contains("gzip"));
    if !gzip || bytes.len() <= GZIP_FROM {
        return respond(code, kind, full(bytes));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let compressed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    match compressed {
        Ok(compressed) => {
            let mut response = respond(code, kind, full(compressed));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            response
        }
        Err(_) => respond(code, kind, full(bytes)),
    }
}

/// A response.
pub fn respond(code: u16, kind: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(kind) = HeaderValue::from_str(kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
