//! What differs between two versions of a document, path by path.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::fields::{Element, Set};
use super::{Form, ListForm, MapForm, Shape, list, map, same_sort};

/// Paths by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the new version.
    pub added: Set,
    /// In both, with another value.
    pub modified: Set,
    /// Only in the old version.
    pub removed: Set,
}

/// Compares an old with a new version.
pub fn compare(shape: Shape<'_>, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk { path: Vec::new(), out: Comparison::default() };
    walk.value(shape, Some(old), Some(new));
    walk.out
}

/// Equal values; numbers by what they count.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

struct Walk {
    path: Vec<Element>,
    out: Comparison,
}

impl Walk {
    fn value(&mut self, shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) {
        let leaf = match (old, new) {
            (None, None) => return,
            (Some(one), None) | (None, Some(one)) => self.form(shape.form(one), old, new),
            (Some(a), Some(b)) => {
                let (a, b) = (shape.form(a), shape.form(b));
                if !same_sort(&a, &b) {
                    self.form(a, old, new);
                }
                self.form(b, old, new)
            }
        };
        match (old, new) {
            _ if leaf => {}
            (None, Some(_)) => self.out.added.insert(&self.path),
            (Some(_), None) => self.out.removed.insert(&self.path),
            _ => {}
        }
    }

    /// Compares in one form; tells whether it was as one value.
    fn form(&mut self, form: Form<'_>, old: Option<&Value>, new: Option<&Value>) -> bool {
        match form {
            Form::Scalar(_) => self.leaf(old, new),
            Form::List(form) => {
                let (a, b) = (list(old), list(new));
                let empty = a.is_none_or(Vec::is_empty) && b.is_none_or(Vec::is_empty);
                if form.is_atomic() || empty {
                    return self.leaf(old, new);
                }
                self.list(form, a, b);
                false
            }
            Form::Map(form) => {
                let (a, b) = (map(old), map(new));
                let empty = a.is_none_or(|a| a.is_empty()) && b.is_none_or(|b| b.is_empty());
                if form.atomic || empty {
                    return self.leaf(old, new);
                }
                self.map(form, old, new);
                false
            }
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) -> bool {
        match (old, new) {
            (None, None) => {}
            (None, Some(_)) => self.out.added.insert(&self.path),
            (Some(_), None) => self.out.removed.insert(&self.path),
            (Some(old), Some(new)) if equal(old, new) => {}
            (Some(_), Some(_)) => self.out.modified.insert(&self.path),
        }
        true
    }

    fn list(&mut self, form: ListForm<'_>, old: Option<&Vec<Value>>, new: Option<&Vec<Value>>) {
        let mut items: BTreeMap<Element, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, values) in [old, new].into_iter().enumerate() {
            for (at, item) in values.into_iter().flatten().enumerate() {
                if let Ok(element) = form.element(at, item) {
                    items.entry(element).or_default()[side].push(item);
                }
            }
        }
        for (element, [old, new]) in items {
            self.path.push(element);
            match (old.len() > 1, new.len() > 1) {
                (false, false) => {
                    self.value(form.elem, old.first().copied(), new.first().copied());
                }
                (true, true) => {
                    let same = old.len() == new.len();
                    if !same || old.iter().zip(&new).any(|(a, b)| !equal(a, b)) {
                        self.out.modified.insert(&self.path);
                    }
                }
                // Doubled items are one value: their fields come or go as a whole.
                (true, false) => {
                    self.value(form.elem, None, new.first().copied());
                    self.out.removed.insert(&self.path);
                }
                (false, true) => {
                    self.value(form.elem, old.first().copied(), None);
                    self.out.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }

    fn map(&mut self, form: MapForm<'_>, old: Option<&Value>, new: Option<&Value>) {
        let (a, b) = (map(old), map(new));
        let names: BTreeSet<&String> =
            a.into_iter().chain(b).flat_map(serde_json::Map::keys).collect();
        for name in names {
            let shape = form.field(name).unwrap_or(Shape::Deduced);
            self.path.push(Element::Field(name.clone()));
            self.value(shape, a.and_then(|a| a.get(name)), b.and_then(|b| b.get(name)));
            self.path.pop();
        }
    }
}
