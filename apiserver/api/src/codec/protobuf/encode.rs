//! A value to the message of its type.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::super::{
    canonical::zero,
    time,
    wire::{FIXED64, put_bytes, put_int, put_key},
};
use crate::facts::{Member, Node, Scalar, Struct, Ty};

/// Encodes a struct's message, without envelope.
pub fn encode_message(ty: Ty<'_>, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(s) = ty.as_struct() {
        message(&mut out, ty, s, value.as_object());
    }
    out
}

fn message(out: &mut Vec<u8>, ty: Ty<'_>, s: &Struct, map: Option<&Map<String, Value>>) {
    for (number, member) in &s.members {
        match member {
            Member::Embed(at) => {
                let inner = ty.at(s.embeds[*at].ty);
                let mut part = Vec::new();
                if let Some(s) = inner.as_struct() {
                    message(&mut part, inner, s, map);
                }
                put_bytes(out, *number, &part);
            }
            Member::Field(at) => {
                let field = &s.fields[*at];
                let value = map
                    .and_then(|m| m.get(field.json.as_ref()))
                    .filter(|v| !v.is_null() || field.pointer);
                let value = value.filter(|v| !v.is_null());
                if value.is_some() || !field.pointer {
                    member_value(out, *number, ty.at(field.ty), value);
                }
            }
        }
    }
}

/// A field that is present, or absent but no pointer.
fn member_value(out: &mut Vec<u8>, number: u32, ty: Ty<'_>, value: Option<&Value>) {
    match (ty.node(), value) {
        (Node::List(_) | Node::Map(_) | Node::Scalar(Scalar::Bytes), None) => {}
        (Node::List(l), Some(value)) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            let elem = ty.at(l.elem);
            if is_wrapper(ty) {
                single(out, number, ty, value);
            } else {
                for item in items {
                    single(out, number, elem, item);
                }
            }
        }
        (Node::Map(m), Some(value)) => {
            let elem = ty.at(m.value);
            for (key, value) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                single(&mut entry, 2, elem, value);
                put_bytes(out, number, &entry);
            }
        }
        (Node::Struct(s), None) => {
            let mut part = Vec::new();
            message(&mut part, ty, s, None);
            put_bytes(out, number, &part);
        }
        (Node::Scalar(_), None) => single(out, number, ty, &zero(ty)),
        (_, Some(value)) => single(out, number, ty, value),
    }
}

/// A named slice of scalars is a message of its own (`ExtraValue`, `Verbs`).
pub(super) fn is_wrapper(ty: Ty<'_>) -> bool {
    !ty.name().is_empty()
        && ty.as_list().is_some_and(|l| matches!(ty.at(l.elem).node(), Node::Scalar(_)))
}

/// One value under a number.
fn single(out: &mut Vec<u8>, number: u32, ty: Ty<'_>, value: &Value) {
    match ty.node() {
        Node::Struct(s) => {
            let mut part = Vec::new();
            message(&mut part, ty, s, value.as_object());
            put_bytes(out, number, &part);
        }
        // A list or map that is itself an element: a message with the items under 1.
        Node::List(l) => {
            let mut part = Vec::new();
            for item in value.as_array().into_iter().flatten() {
                single(&mut part, 1, ty.at(l.elem), item);
            }
            put_bytes(out, number, &part);
        }
        Node::Map(_) => {
            let mut part = Vec::new();
            member_value(&mut part, 1, ty, Some(value));
            put_bytes(out, number, &part);
        }
        Node::Scalar(scalar) => leaf(out, number, ty, *scalar, value),
    }
}

fn leaf(out: &mut Vec<u8>, number: u32, ty: Ty<'_>, scalar: Scalar, value: &Value) {
    let text = || value.as_str().unwrap_or_default();
    match scalar {
        Scalar::String => put_bytes(out, number, text().as_bytes()),
        Scalar::Bool => put_int(out, number, i64::from(value.as_bool().unwrap_or_default())),
        Scalar::Int32 | Scalar::Int64 => put_int(out, number, value.as_i64().unwrap_or_default()),
        Scalar::Float64 => {
            put_key(out, number, FIXED64);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Scalar::Bytes => {
            put_bytes(out, number, &STANDARD.decode(text()).unwrap_or_default());
        }
        Scalar::Duration | Scalar::Any => put_bytes(out, number, text().as_bytes()),
        Scalar::Quantity => nested(out, number, |part| put_bytes(part, 1, text().as_bytes())),
        Scalar::IntOrString => nested(out, number, |part| {
            put_int(part, 1, i64::from(value.is_string()));
            put_int(part, 2, value.as_i64().unwrap_or_default());
            put_bytes(part, 3, text().as_bytes());
        }),
        Scalar::Time | Scalar::MicroTime => nested(out, number, |part| {
            if let Ok(at) = time::parse(text(), scalar == Scalar::MicroTime)
                && !at.is_zero()
            {
                put_int(part, 1, at.seconds);
                let nanos = if scalar == Scalar::MicroTime { at.nanos / 1000 * 1000 } else { 0 };
                put_int(part, 2, i64::from(nanos));
            }
        }),
        Scalar::RawExtension | Scalar::FieldsV1 | Scalar::Json => nested(out, number, |part| {
            if !value.is_null() {
                put_bytes(part, 1, value.to_string().as_bytes());
            }
        }),
        Scalar::SchemaOrBool | Scalar::SchemaOrArray | Scalar::SchemaOrStrings => {
            nested(out, number, |part| schema_or(part, ty, scalar, value));
        }
    }
}

fn nested(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut part = Vec::new();
    fill(&mut part);
    put_bytes(out, number, &part);
}

fn schema_or(out: &mut Vec<u8>, ty: Ty<'_>, scalar: Scalar, value: &Value) {
    let Some(schema) = schema_type(ty) else { return };
    match (scalar, value) {
        (Scalar::SchemaOrBool, Value::Bool(allows)) => put_int(out, 1, i64::from(*allows)),
        (Scalar::SchemaOrBool, value) => {
            put_int(out, 1, 1);
            single(out, 2, schema, value);
        }
        (Scalar::SchemaOrArray, Value::Array(items)) => {
            for item in items {
                single(out, 2, schema, item);
            }
        }
        (Scalar::SchemaOrStrings, Value::Array(items)) => {
            for item in items {
                put_bytes(out, 2, item.as_str().unwrap_or_default().as_bytes());
            }
        }
        (_, value) => single(out, 1, schema, value),
    }
}

/// JSONSchemaProps of the same arena.
pub(super) fn schema_type(ty: Ty<'_>) -> Option<Ty<'_>> {
    ty.types().find("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
}
