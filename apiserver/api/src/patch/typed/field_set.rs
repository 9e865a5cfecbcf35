//! The paths that a document speaks about: what its author owns once it is applied.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::fields::{Element, Set};
use super::{Form, ListForm, MapForm, Shape, list, map};

/// All paths of a document.
pub fn field_set(shape: Shape<'_>, value: &Value) -> Set {
    let mut walk = Walk { path: Vec::new(), set: Set::default() };
    walk.value(shape, value);
    walk.set
}

struct Walk {
    path: Vec<Element>,
    set: Set,
}

impl Walk {
    fn value(&mut self, shape: Shape<'_>, value: &Value) {
        match shape.form(value) {
            Form::Scalar(_) => self.set.insert(&self.path),
            Form::List(form) if form.is_atomic() => self.set.insert(&self.path),
            Form::Map(form) if form.atomic => self.set.insert(&self.path),
            Form::List(form) => self.list(form, value),
            Form::Map(form) => self.map(form, value),
        }
    }

    fn list(&mut self, form: ListForm<'_>, value: &Value) {
        let items = list(Some(value)).into_iter().flatten().enumerate();
        let elements: Vec<(Element, &Value)> = items
            .filter_map(|(at, item)| form.element(at, item).ok().map(|element| (element, item)))
            .collect();
        let mut seen = BTreeSet::new();
        let doubled: BTreeSet<&Element> =
            elements.iter().map(|(e, _)| e).filter(|e| !seen.insert(*e)).collect();
        for (element, item) in &elements {
            self.path.push(element.clone());
            if !doubled.contains(element) {
                self.value(form.elem, item);
            }
            self.set.insert(&self.path);
            self.path.pop();
        }
    }

    fn map(&mut self, form: MapForm<'_>, value: &Value) {
        for (name, value) in map(Some(value)).into_iter().flatten() {
            let Some(shape) = form.field(name) else { continue };
            self.path.push(Element::Field(name.clone()));
            self.value(shape, value);
            let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
            if empty || !form.names(name) {
                self.set.insert(&self.path);
            }
            self.path.pop();
        }
    }
}
