//! The form that Go's types give when they are encoded: what is left out, what is always there.
//!
//! A field is left out when it is nil, or when it is `omitempty` and empty; a struct that is no
//! pointer is always there (`status: {}`), and so are required scalars at their zero value.

use serde_json::{Map, Value};

use super::{Decoded, Error, Strictness, decode_value};
use crate::facts::{Field, Node, Omit, Scalar, Struct, Ty, Unknown};

/// Brings a plain value into the form in which it is stored; unknown fields are dropped.
pub fn canonicalize(ty: Ty<'_>, value: Value) -> Result<Value, Error> {
    let Decoded { mut value, .. } = decode_value(ty, value, Vec::new(), Strictness::Ignore)?;
    forget_empty(ty, &mut value);
    Ok(value)
}

/// Makes empty lists and maps null where they would be written: in the store an empty list is no
/// list, and that is what comes back.
fn forget_empty(ty: Ty<'_>, value: &mut Value) {
    match (ty.node(), value) {
        (Node::Struct(s), Value::Object(map)) => {
            for field in &s.fields {
                let Some(found) = map.get_mut(field.json.as_ref()) else { continue };
                let under = ty.at(field.ty);
                let holds = matches!(under.node(), Node::List(_) | Node::Map(_));
                let kept = field.pointer || field.omit != Omit::Never || !is_empty(under, found);
                if holds && !kept {
                    *found = Value::Null;
                } else if !matches!(under.node(), Node::Scalar(_)) {
                    forget_empty(under, found);
                }
            }
        }
        (Node::List(list), Value::Array(items)) => {
            let elem = ty.at(list.elem);
            if !matches!(elem.node(), Node::Scalar(_)) {
                items.iter_mut().for_each(|item| forget_empty(elem, item));
            }
        }
        (Node::Map(node), Value::Object(map)) => {
            let elem = ty.at(node.value);
            if !matches!(elem.node(), Node::Scalar(_)) {
                map.values_mut().for_each(|value| forget_empty(elem, value));
            }
        }
        _ => {}
    }
}

/// The zero value of a type as Go encodes it.
pub fn zero(ty: Ty<'_>) -> Value {
    match ty.node() {
        Node::Struct(s) => finish(ty, s, Map::new()),
        Node::List(_) | Node::Map(_) => Value::Null,
        Node::Scalar(scalar) => match scalar {
            Scalar::String => Value::String(String::new()),
            Scalar::Bool => Value::Bool(false),
            Scalar::Int32 | Scalar::Int64 | Scalar::Float64 | Scalar::IntOrString => Value::from(0),
            Scalar::Quantity => Value::String("0".to_owned()),
            Scalar::Duration => Value::String("0s".to_owned()),
            Scalar::Bytes
            | Scalar::Time
            | Scalar::MicroTime
            | Scalar::RawExtension
            | Scalar::FieldsV1
            | Scalar::Json
            | Scalar::SchemaOrBool
            | Scalar::SchemaOrArray
            | Scalar::SchemaOrStrings
            | Scalar::Any => Value::Null,
        },
    }
}

/// Completes a struct's decoded fields: drops the empty ones, adds those that are always there.
pub(super) fn finish(ty: Ty<'_>, s: &Struct, mut found: Map<String, Value>) -> Value {
    if s.unknown == Unknown::Preserve {
        for field in &s.fields {
            if let Some(value) = found.remove(field.json.as_ref())
                && let Some(value) = emit(field, ty.at(field.ty), value)
            {
                found.insert(field.json.clone().into_owned(), value);
            }
        }
        return Value::Object(found);
    }
    let mut out = Map::new();
    for field in &s.fields {
        let value = found.remove(field.json.as_ref()).unwrap_or(Value::Null);
        if let Some(value) = emit(field, ty.at(field.ty), value) {
            out.insert(field.json.clone().into_owned(), value);
        }
    }
    Value::Object(out)
}

/// What Go writes for a field that holds `value` (null: nil or zero), if it writes it at all.
fn emit(field: &Field, ty: Ty<'_>, value: Value) -> Option<Value> {
    if value.is_null() {
        if field.nullable {
            return Some(Value::Null);
        }
        let nil = field.pointer
            || matches!(
                ty.node(),
                Node::List(_) | Node::Map(_) | Node::Scalar(Scalar::Bytes | Scalar::Any)
            );
        return match (nil, field.omit) {
            (true, Omit::Never) => Some(Value::Null),
            (true, _) | (false, Omit::Zero) => None,
            (false, Omit::Empty) if is_plain(ty) => None,
            (false, Omit::Empty | Omit::Never) => Some(zero(ty)),
        };
    }
    if field.omit == Omit::Empty && !field.pointer && is_empty(ty, &value) {
        return None;
    }
    Some(value)
}

/// Go's kinds that `omitempty` works on: anything but a struct.
fn is_plain(ty: Ty<'_>) -> bool {
    match ty.node() {
        Node::Struct(_) => false,
        Node::List(_) | Node::Map(_) => true,
        Node::Scalar(scalar) => matches!(
            scalar,
            Scalar::String
                | Scalar::Bool
                | Scalar::Int32
                | Scalar::Int64
                | Scalar::Float64
                | Scalar::Bytes
                | Scalar::Any
        ),
    }
}

fn is_empty(ty: Ty<'_>, value: &Value) -> bool {
    is_plain(ty)
        && match value {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Number(n) => n.as_f64() == Some(0.0),
            Value::String(s) => s.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
        }
}
