//! Defaults that are data: a walk along the type fills what OpenAPI gives a non-zero default, and
//! rounds resource lists.

use serde_json::Value;

use crate::{
    facts::{Node, Scalar, Ty},
    quantity::Quantity,
};

/// Exponent of the finest step that a resource list keeps.
const MILLI: i32 = -3;

/// Fills defaults below a value of a type. `round` tells whether maps of quantities are resource
/// lists.
pub(super) fn walk(ty: Ty<'_>, value: &mut Value, round: bool) {
    match (ty.node(), value) {
        (Node::Struct(s), Value::Object(map)) => {
            for field in &s.fields {
                match map.get_mut(field.json.as_ref()) {
                    Some(Value::Null) | None => {}
                    Some(found) => {
                        let under = ty.at(field.ty);
                        if !matches!(under.node(), Node::Scalar(_)) {
                            walk(under, found, round);
                        }
                        let zero = super::edit::is_zero(Some(found)) && !field.pointer;
                        if !zero {
                            continue;
                        }
                    }
                }
                if let Some(default) = field.default.as_ref().filter(|d| counts(d)) {
                    map.insert(field.json.clone().into_owned(), default.clone());
                }
            }
        }
        (Node::List(list), Value::Array(items)) => {
            let elem = ty.at(list.elem);
            if !matches!(elem.node(), Node::Scalar(_)) {
                items.iter_mut().for_each(|item| walk(elem, item, round));
            }
        }
        (Node::Map(node), Value::Object(map)) => {
            let elem = ty.at(node.value);
            match elem.node() {
                Node::Scalar(Scalar::Quantity) if round => map.values_mut().for_each(round_up),
                Node::Scalar(_) => {}
                _ => map.values_mut().for_each(|value| walk(elem, value, round)),
            }
        }
        _ => {}
    }
}

/// Whether a default says anything: zero values don't.
fn counts(default: &Value) -> bool {
    match default {
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        other => !super::edit::is_zero(Some(other)),
    }
}

fn round_up(value: &mut Value) {
    let Some(quantity) = value.as_str().and_then(|text| text.parse::<Quantity>().ok()) else {
        return;
    };
    if !quantity.is_exact(MILLI) {
        *value = quantity.round_up(MILLI).to_string().into();
    }
}
