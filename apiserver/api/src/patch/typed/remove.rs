//! Documents without some of their paths, and sets completed for that.

use serde_json::{Map, Value};

use super::super::fields::{Element, Node, Set};
use super::{Form, ListForm, MapForm, Shape};

/// The value without the paths of the set; null when nothing is left.
pub fn remove(shape: Shape<'_>, value: &Value, paths: &Set) -> Value {
    if paths.is_empty() {
        return value.clone();
    }
    match (shape.form(value), value) {
        (Form::Scalar(_), _) => value.clone(),
        (Form::List(form), Value::Array(items)) if !form.is_atomic() => {
            items_without(form, items, paths)
        }
        (Form::Map(form), Value::Object(fields)) => fields_without(form, fields, paths),
        (Form::List(_) | Form::Map(_), _) => Value::Null,
    }
}

fn items_without(form: ListForm<'_>, items: &[Value], paths: &Set) -> Value {
    let mut out = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Ok(element) = form.element(at, item) else {
            out.push(item.clone());
            continue;
        };
        if paths.has(&element) {
            continue;
        }
        out.push(match paths.child(&element) {
            Some(paths) => remove(form.elem, item, paths),
            None => item.clone(),
        });
    }
    if out.is_empty() { Value::Null } else { Value::Array(out) }
}

fn fields_without(form: MapForm<'_>, fields: &Map<String, Value>, paths: &Set) -> Value {
    let mut out = Map::new();
    for (name, value) in fields {
        let element = Element::Field(name.clone());
        if paths.has(&element) {
            continue;
        }
        let shape = form.field(name).unwrap_or(Shape::Deduced);
        let value = match paths.child(&element) {
            Some(paths) => remove(shape, value, paths),
            None => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    if out.is_empty() { Value::Null } else { Value::Object(out) }
}

/// The set with every field on the way to a longer path as a member, where its type lists it.
pub fn with_named_fields(shape: Shape<'_>, set: &Set) -> Set {
    let mut out = Set::default();
    for (element, node) in set.nodes() {
        let (named, below) = step(shape, element);
        let member = node.member || (named && !node.children.is_empty());
        let children = with_named_fields(below, &node.children);
        out.put(element.clone(), Node { member, children });
    }
    out
}

/// Whether a struct lists this field, and the type behind the element.
fn step<'a>(shape: Shape<'a>, element: &Element) -> (bool, Shape<'a>) {
    // The form depends on the value only where the type is open, and there nothing is listed.
    match (shape.form(&Value::Null), element) {
        (Form::Map(form), Element::Field(name)) => {
            (form.names(name), form.field(name).unwrap_or(Shape::Deduced))
        }
        (Form::List(form), _) => (false, form.elem),
        _ => (false, Shape::Deduced),
    }
}
