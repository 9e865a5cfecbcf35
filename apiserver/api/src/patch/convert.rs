//! Whether a patched document can become an object of its type, in the words of upstream's
//! converter, which differ from those of its decoder.
//!
//! Types with a text form of their own (times, quantities) are left to the decoder.

use serde_json::Value;

use super::go;
use crate::facts::{Node, Scalar, Ty};

/// Finds the first value that its field can't hold.
pub fn convertible(ty: Ty<'_>, value: &Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    match ty.node() {
        Node::Struct(_) => match value {
            Value::Object(map) => {
                let known = map.iter().filter_map(|(key, value)| Some((ty.child(key)?.1, value)));
                known.into_iter().try_for_each(|(ty, value)| convertible(ty, value))
            }
            other => Err(format!("cannot restore struct from: {}", kind(other))),
        },
        Node::List(list) => match value {
            Value::Array(items) => {
                items.iter().try_for_each(|item| convertible(ty.at(list.elem), item))
            }
            other => Err(format!("cannot restore slice from {}", kind(other))),
        },
        Node::Map(map) => match value {
            Value::Object(fields) => {
                fields.values().try_for_each(|field| convertible(ty.at(map.value), field))
            }
            other => Err(format!("cannot restore map from {}", kind(other))),
        },
        Node::Scalar(scalar) => fits(*scalar, value),
    }
}

fn fits(scalar: Scalar, value: &Value) -> Result<(), String> {
    let whole = |n: &serde_json::Number| n.as_f64().is_some_and(|f| f.fract() == 0.0);
    let wanted = match (scalar, value) {
        (Scalar::String, Value::String(_)) | (Scalar::Bool, Value::Bool(_)) => return Ok(()),
        (Scalar::Int32 | Scalar::Int64, Value::Number(n)) if !n.is_f64() || whole(n) => {
            return Ok(());
        }
        (Scalar::Float64, Value::Number(_)) => return Ok(()),
        (Scalar::Bytes, Value::String(text)) => return bytes(text),
        (Scalar::Bytes, other) if !other.is_array() => {
            return Err(format!("cannot restore slice from {}", kind(other)));
        }
        (Scalar::String, _) => "string",
        (Scalar::Bool, _) => "bool",
        (Scalar::Int32, _) => "int32",
        (Scalar::Int64, _) => "int64",
        (Scalar::Float64, _) => "float64",
        _ => return Ok(()),
    };
    Err(format!("cannot convert {} to {wanted}", go::type_name(value)))
}

fn bytes(text: &str) -> Result<(), String> {
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    let body = plain.trim_end_matches('=');
    let padding = plain.len() - body.len();
    let at = body
        .find(|c| !valid(c))
        .or_else(|| (padding > 2 || !plain.len().is_multiple_of(4)).then_some(body.len()));
    match at {
        None => Ok(()),
        Some(at) => {
            // Go decodes in quanta of four and names the first bad byte, or where the input ended.
            let at = if at == body.len() { at / 4 * 4 } else { at };
            Err(format!("error decoding from json: illegal base64 data at input byte {at}"))
        }
    }
}

/// Go's name of a value's kind.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
        other => go::type_name(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::registry;
    use serde_json::json;

    #[test]
    fn what_a_field_cant_hold_is_named() {
        let ty = registry().kind("apps", "v1", "Deployment").expect("a kind");
        let text = |spec: Value| convertible(ty, &json!({"spec": spec})).expect_err("refused");
        assert_eq!(text(json!({"replicas": 3.5})), "cannot convert float64 to int32");
        let containers = json!({"template": {"spec": {"containers": {"name": "c"}}}});
        assert_eq!(text(containers), "cannot restore slice from map");
        assert!(convertible(ty, &json!({"spec": {"replicas": 3.0}, "zz": 1})).is_ok());
        let ty = registry().kind("", "v1", "ConfigMap").expect("a kind");
        let text = |data: Value| convertible(ty, &data).expect_err("refused");
        assert_eq!(text(json!({"data": {"k": 1}})), "cannot convert int64 to string");
        assert_eq!(
            text(json!({"binaryData": {"b": "!x"}})),
            "error decoding from json: illegal base64 data at input byte 0"
        );
    }
}
