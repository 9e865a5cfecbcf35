//! Whether a document fits its type as far as merging needs it, in upstream's words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::fields::{Element, Path};
use super::super::go;
use super::{Form, Leaf, ListForm, MapForm, Shape};

/// Finds what does not fit.
pub fn validate(shape: Shape<'_>, value: &Value) -> Result<(), String> {
    let mut walk = Walk { path: Path::default(), errors: Vec::new() };
    walk.value(shape, value);
    match walk.errors.len() {
        0 => Ok(()),
        1 => Err(walk.errors.remove(0)),
        _ => {
            let lines: Vec<String> = walk.errors.iter().map(|e| format!("  {e}")).collect();
            Err(format!("errors:\n{}", lines.join("\n")))
        }
    }
}

struct Walk {
    path: Path,
    errors: Vec<String>,
}

impl Walk {
    fn value(&mut self, shape: Shape<'_>, value: &Value) {
        match shape.form(value) {
            Form::Scalar(leaf) => self.scalar(leaf, value),
            Form::List(form) => self.list(form, value),
            Form::Map(form) => self.map(form, value),
        }
    }

    fn error(&mut self, text: &str) {
        self.errors.push(match self.path.0.is_empty() {
            true => text.to_owned(),
            false => format!("{}: {text}", self.path),
        });
    }

    fn below(&mut self, element: Element, walk: impl FnOnce(&mut Self)) {
        self.path.0.push(element);
        walk(self);
        self.path.0.pop();
    }

    fn scalar(&mut self, leaf: Leaf, value: &Value) {
        let text = match (leaf, value) {
            (_, Value::Null)
            | (Leaf::Numeric, Value::Number(_))
            | (Leaf::Text, Value::String(_))
            | (Leaf::Boolean, Value::Bool(_))
            | (Leaf::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => return,
            (Leaf::Numeric, _) => {
                format!("expected numeric (int or float), got {}", go::type_name(value))
            }
            (Leaf::Text, _) => format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                go::syntax(value)
            ),
            (Leaf::Boolean, _) => format!("expected boolean, got &{{{}}}", go::plain(value)),
            (Leaf::Any, _) => format!("expected any scalar, got &{{{}}}", go::plain(value)),
        };
        self.error(&text);
    }

    fn list(&mut self, form: ListForm<'_>, value: &Value) {
        let items = match value {
            Value::Null => return,
            Value::Array(items) => items,
            _ => return self.error(&format!("expected list, got &{{{}}}", go::plain(value))),
        };
        let mut seen = BTreeSet::new();
        for (at, item) in items.iter().enumerate() {
            let element = match form.element(at, item) {
                Ok(element) => element,
                Err(text) => return self.error(&format!("element {at}: {text}")),
            };
            if !seen.insert(element.clone()) {
                self.error(&format!("duplicate entries for key {element}"));
            }
            self.below(element, |walk| walk.value(form.elem, item));
        }
    }

    fn map(&mut self, form: MapForm<'_>, value: &Value) {
        let fields = match value {
            Value::Null => return,
            Value::Object(fields) => fields,
            _ => return self.error(&format!("expected map, got &{{{}}}", go::plain(value))),
        };
        for (name, value) in fields {
            let element = Element::Field(name.clone());
            match form.field(name) {
                Some(shape) => self.below(element, |walk| walk.value(shape, value)),
                None => {
                    self.below(element, |walk| walk.error("field not declared in schema"));
                    return;
                }
            }
        }
    }
}
