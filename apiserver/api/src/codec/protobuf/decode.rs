//! A message to the value of its type.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    super::{
        Error,
        canonical::{finish, zero},
        json::{kept, number, scan},
        time::Instant,
        wire::{Part, Reader},
    },
    encode::{is_wrapper, schema_type},
};
use crate::{
    facts::{Member, Node, Scalar, Struct, Ty},
    quantity::Quantity,
};

/// Decodes a struct's message, without envelope, into canonical form.
pub fn decode_message(ty: Ty<'_>, bytes: &[u8]) -> Result<Value, Error> {
    let Some(s) = ty.as_struct() else {
        return Err(Error::Untyped);
    };
    let mut map = Map::new();
    message(ty, s, bytes, &mut map)?;
    Ok(finish(ty, s, map))
}

fn message(
    ty: Ty<'_>,
    s: &Struct,
    bytes: &[u8],
    map: &mut Map<String, Value>,
) -> Result<(), Error> {
    let mut reader = Reader::new(bytes);
    while let Some((number, part)) = reader.next()? {
        match s.member(number) {
            None => {}
            Some(Member::Embed(at)) => {
                let inner = ty.at(s.embeds[at].ty);
                if let Some(s) = inner.as_struct() {
                    message(inner, s, part.bytes()?, map)?;
                }
            }
            Some(Member::Field(at)) => {
                let field = &s.fields[at];
                let slot = map.entry(field.json.as_ref()).or_insert(Value::Null);
                member(ty.at(field.ty), part, slot)?;
            }
        }
    }
    Ok(())
}

/// Adds one occurrence of a field to its value.
fn member(ty: Ty<'_>, part: Part<'_>, slot: &mut Value) -> Result<(), Error> {
    match ty.node() {
        Node::List(l) if !is_wrapper(ty) => {
            let item = single(ty.at(l.elem), part)?;
            match slot {
                Value::Array(items) => items.push(item),
                slot => *slot = Value::Array(vec![item]),
            }
        }
        Node::Map(m) => {
            let elem = ty.at(m.value);
            let (mut key, mut value) = (String::new(), Value::Null);
            let mut reader = Reader::new(part.bytes()?);
            while let Some((number, part)) = reader.next()? {
                match number {
                    1 => key = part.text()?,
                    2 => value = single(elem, part)?,
                    _ => {}
                }
            }
            if value.is_null() {
                value = map_zero(elem);
            }
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            if let Value::Object(map) = slot {
                map.insert(key, value);
            }
        }
        _ => *slot = single(ty, part)?,
    }
    Ok(())
}

/// The value of a map's entry that has none: empty bytes, a zero otherwise.
fn map_zero(elem: Ty<'_>) -> Value {
    match elem.node() {
        Node::Scalar(Scalar::Bytes) => Value::String(String::new()),
        _ => zero(elem),
    }
}

fn single(ty: Ty<'_>, part: Part<'_>) -> Result<Value, Error> {
    match ty.node() {
        Node::Struct(_) => decode_message(ty, part.bytes()?),
        Node::List(l) => {
            let mut items = Vec::new();
            let mut reader = Reader::new(part.bytes()?);
            while let Some((_, part)) = reader.next()? {
                items.push(single(ty.at(l.elem), part)?);
            }
            Ok(Value::Array(items))
        }
        Node::Map(_) => {
            let mut slot = Value::Object(Map::new());
            let mut reader = Reader::new(part.bytes()?);
            while let Some((_, part)) = reader.next()? {
                member(ty, part, &mut slot)?;
            }
            Ok(slot)
        }
        Node::Scalar(scalar) => leaf(ty, *scalar, part),
    }
}

fn leaf(ty: Ty<'_>, scalar: Scalar, part: Part<'_>) -> Result<Value, Error> {
    Ok(match scalar {
        Scalar::String | Scalar::Duration | Scalar::Any => Value::String(part.text()?),
        Scalar::Bool => Value::Bool(part.int()? != 0),
        Scalar::Int32 | Scalar::Int64 => Value::from(part.int()?),
        Scalar::Float64 => match part {
            Part::Fixed64(bits) => whole_float(f64::from_bits(bits)),
            other => Value::from(other.int()?),
        },
        Scalar::Bytes => Value::String(STANDARD.encode(part.bytes()?)),
        Scalar::Quantity => {
            let text = field(part.bytes()?, 1)?.map_or(Ok(String::new()), Part::text)?;
            let text = if text.is_empty() { "0" } else { &text };
            let quantity: Quantity = text.parse().map_err(|e| Error::Protobuf(format!("{e}")))?;
            Value::String(quantity.to_string())
        }
        Scalar::IntOrString => {
            let bytes = part.bytes()?;
            if field(bytes, 1)?.map_or(Ok(0), Part::int)? == 1 {
                Value::String(field(bytes, 3)?.map_or(Ok(String::new()), Part::text)?)
            } else {
                Value::from(field(bytes, 2)?.map_or(Ok(0), Part::int)?)
            }
        }
        Scalar::Time | Scalar::MicroTime => time(part.bytes()?, scalar == Scalar::MicroTime)?,
        Scalar::RawExtension | Scalar::FieldsV1 | Scalar::Json => match field(part.bytes()?, 1)? {
            Some(raw) => embedded(raw.bytes()?)?,
            None => Value::Null,
        },
        Scalar::SchemaOrBool | Scalar::SchemaOrArray | Scalar::SchemaOrStrings => {
            schema_or(ty, scalar, part.bytes()?)?
        }
    })
}

fn whole_float(f: f64) -> Value {
    if f.fract() == 0.0 && f.abs() < 1e15 { number(&format!("{f:.0}")) } else { Value::from(f) }
}

/// The last occurrence of a field in a message.
fn field(bytes: &[u8], wanted: u32) -> Result<Option<Part<'_>>, Error> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, part)) = reader.next()? {
        if number == wanted {
            found = Some(part);
        }
    }
    Ok(found)
}

fn time(bytes: &[u8], micro: bool) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let seconds = field(bytes, 1)?.map_or(Ok(0), Part::int)?;
    let nanos = field(bytes, 2)?.map_or(Ok(0), Part::int)?;
    let at = Instant { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
    if at.is_zero() {
        return Ok(Value::Null);
    }
    Ok(Value::String(if micro { at.micro_text() } else { at.text() }))
}

/// JSON that a message carries as bytes.
fn embedded(raw: &[u8]) -> Result<Value, Error> {
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    let doc = scan(raw).map_err(|e| Error::Protobuf(e.to_string()))?;
    kept(doc.into_value(&mut String::new(), &mut Vec::new()))
}

fn schema_or(ty: Ty<'_>, scalar: Scalar, bytes: &[u8]) -> Result<Value, Error> {
    let Some(schema) = schema_type(ty) else { return Ok(Value::Null) };
    let mut many = Vec::new();
    let (mut one, mut allows) = (Value::Null, false);
    let mut reader = Reader::new(bytes);
    while let Some((number, part)) = reader.next()? {
        match (scalar, number) {
            (Scalar::SchemaOrBool, 1) => allows = part.int()? != 0,
            (Scalar::SchemaOrBool, 2) | (_, 1) => one = decode_message(schema, part.bytes()?)?,
            (Scalar::SchemaOrStrings, 2) => many.push(Value::String(part.text()?)),
            (_, 2) => many.push(decode_message(schema, part.bytes()?)?),
            _ => {}
        }
    }
    Ok(match scalar {
        Scalar::SchemaOrBool if one.is_null() => Value::Bool(allows),
        _ if !many.is_empty() => Value::Array(many),
        _ => one,
    })
}
