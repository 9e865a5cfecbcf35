//! An applied document laid over the live one.
//!
//! Lists keep an order that both sides can live with: items that both have come in the order of
//! the applied document, items of one side only stay near their neighbours.
//! Example: live `b a`, applied `c a` gives `b c a`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::super::fields::Element;
use super::{Form, ListForm, MapForm, Shape, list, map};

/// Merges; `new` wins where both have a value.
pub fn merge(shape: Shape<'_>, live: &Value, new: &Value) -> Value {
    value(shape, Some(live), Some(new)).unwrap_or(Value::Null)
}

fn value(shape: Shape<'_>, live: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let form = shape.form(new.or(live)?);
    match form {
        Form::Scalar(_) => leaf(live, new),
        Form::List(form) => {
            let (a, b) = (list(live), list(new));
            let empty = a.is_none_or(Vec::is_empty) && b.is_none_or(Vec::is_empty);
            if form.is_atomic() || empty {
                return leaf(live, new);
            }
            let items = items(form, a.map_or(&[], Vec::as_slice), b.map_or(&[], Vec::as_slice));
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Form::Map(form) => {
            let (a, b) = (map(live), map(new));
            let empty = a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty);
            if form.atomic || empty {
                return leaf(live, new);
            }
            let fields = fields(form, a, b);
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
    }
}

fn leaf(live: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    new.or(live).cloned()
}

fn fields(
    form: MapForm<'_>,
    live: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let names: BTreeSet<&String> = live.into_iter().chain(new).flat_map(Map::keys).collect();
    let mut out = Map::new();
    for name in names {
        let shape = form.field(name).unwrap_or(Shape::Deduced);
        let get = |side: Option<&Map<String, Value>>| side.and_then(|map| map.get(name)).cloned();
        if let Some(merged) = value(shape, get(live).as_ref(), get(new).as_ref()) {
            out.insert(name.clone(), merged);
        }
    }
    out
}

/// The items of one side with their elements, and which item an element means.
struct Side<'a> {
    items: Vec<(Element, &'a Value)>,
    known: BTreeMap<Element, &'a Value>,
}

impl<'a> Side<'a> {
    fn new(form: ListForm<'_>, items: &'a [Value]) -> Self {
        let items: Vec<(Element, &Value)> = items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| form.element(at, item).ok().map(|element| (element, item)))
            .collect();
        let known = items.iter().cloned().collect();
        Self { items, known }
    }

    fn has(&self, element: &Element) -> bool {
        self.known.contains_key(element)
    }
}

fn items(form: ListForm<'_>, live: &[Value], new: &[Value]) -> Vec<Value> {
    let (a, b) = (Side::new(form, live), Side::new(form, new));
    let mut shared: VecDeque<&Element> =
        b.items.iter().map(|(element, _)| element).filter(|e| a.has(e)).collect();
    let mut out = Vec::with_capacity(a.items.len().max(b.items.len()));
    let mut merged = BTreeSet::new();
    let both = |element: &Element| {
        value(form.elem, a.known.get(element).copied(), b.known.get(element).copied())
    };
    let (mut i, mut j) = (0, 0);
    while i < a.items.len() || j < b.items.len() {
        if let (Some((left, _)), Some((right, _))) = (a.items.get(i), b.items.get(j)) {
            if left == right {
                merged.insert(left);
                out.extend(both(left));
                (i, j) = (i + 1, j + 1);
                shared.pop_front();
                continue;
            }
            if b.has(left) && shared.front().is_some_and(|next| *next != left) {
                // The applied order wants another shared item first; this one comes with its turn.
                i += 1;
                continue;
            }
        }
        if let Some((left, item)) = a.items.get(i) {
            if !b.has(left) {
                out.extend(value(form.elem, Some(item), None));
                i += 1;
                continue;
            }
            if merged.contains(left) {
                i += 1;
                continue;
            }
        }
        if let Some((right, _)) = b.items.get(j) {
            merged.insert(right);
            out.extend(both(right));
            j += 1;
            if shared.front() == Some(&right) {
                shared.pop_front();
            }
        }
    }
    out
}
