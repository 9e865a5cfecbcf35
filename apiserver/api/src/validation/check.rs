//! What validators are made of: paths that cost nothing until an error needs them, a list of
//! errors, views into a document.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    facts::{Ty, registry},
    go_text,
    status::{FieldError, ordered},
};

/// The path of a field, linked to its parent on the stack.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A path of one field.
    pub(super) const fn new(field: &'a str) -> Path<'a> {
        Path { parent: None, part: Part::Field(field) }
    }

    /// A field below.
    pub(super) fn child(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Field(field) }
    }

    /// An item of the list here.
    pub(super) fn index(&'a self, at: usize) -> Path<'a> {
        Path { parent: Some(self), part: Part::Index(at) }
    }

    /// An entry of the map here.
    pub(super) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Field(field) if self.parent.is_some() => write!(f, ".{field}"),
            Part::Field(field) => f.write_str(field),
            Part::Index(at) => write!(f, "[{at}]"),
            Part::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// The errors found so far, and those that come last: upstream checks what its types' tags declare
/// after all that is written by hand.
#[derive(Default)]
pub(super) struct Errors(pub(super) Vec<FieldError>, Vec<FieldError>);

impl Errors {
    /// All errors in upstream's order.
    pub(super) fn finish(mut self) -> Vec<FieldError> {
        self.0.append(&mut self.1);
        self.0
    }

    /// Runs a check whose errors come last.
    pub(super) fn late(&mut self, check: impl FnOnce(&mut Errors)) {
        let mut errors = Errors::default();
        check(&mut errors);
        self.1.append(&mut errors.0);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.0.push(FieldError::required(&path.to_string(), detail));
    }

    pub(super) fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.0.push(FieldError::forbidden(&path.to_string(), detail));
    }

    pub(super) fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.0.push(FieldError::invalid(&path.to_string(), value, detail));
    }

    /// A value that is shown as this text.
    pub(super) fn invalid_raw(&mut self, path: &Path<'_>, shown: String, detail: &str) {
        self.0.push(FieldError::invalid_raw(&path.to_string(), shown, detail));
    }

    pub(super) fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.0.push(FieldError::duplicate(&path.to_string(), value));
    }

    pub(super) fn duplicate_raw(&mut self, path: &Path<'_>, shown: String) {
        self.0.push(FieldError::duplicate_raw(&path.to_string(), shown));
    }

    pub(super) fn not_found(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.0.push(FieldError::not_found(&path.to_string(), value).because(detail));
    }

    pub(super) fn not_supported(
        &mut self,
        path: &Path<'_>,
        value: impl Into<Value>,
        known: &[&str],
    ) {
        self.0.push(FieldError::not_supported(&path.to_string(), value, known));
    }

    pub(super) fn too_long(&mut self, path: &Path<'_>, most: usize) {
        self.0.push(FieldError::too_long(&path.to_string(), most));
    }

    pub(super) fn too_many(&mut self, path: &Path<'_>, count: usize, most: usize) {
        self.0.push(FieldError::too_many(&path.to_string(), count, most));
    }

    /// One error per complaint about a text.
    pub(super) fn complaints(&mut self, path: &Path<'_>, value: &str, complaints: Vec<String>) {
        for why in complaints {
            self.invalid(path, value, &why);
        }
    }

    /// The text must be one of those; `required` says so when it is empty.
    pub(super) fn one_of(&mut self, path: &Path<'_>, value: &str, known: &[&str]) {
        if !known.contains(&value) {
            self.not_supported(path, value, known);
        }
    }

    /// The number must not be negative.
    pub(super) fn not_negative(&mut self, path: &Path<'_>, number: Option<i64>) {
        if let Some(number) = number.filter(|number| *number < 0) {
            self.invalid(path, number, "must be greater than or equal to 0");
        }
    }

    /// A number in a range, both ends included.
    pub(super) fn in_range(&mut self, path: &Path<'_>, number: i64, low: i64, high: i64) {
        if number < low || number > high {
            let why = format!("must be between {low} and {high}, inclusive");
            self.invalid(path, number, &why);
        }
    }

    /// A port's number.
    pub(super) fn port(&mut self, path: &Path<'_>, number: i64) {
        self.in_range(path, number, 1, 65_535);
    }

    /// The value may not change. It is shown as null when it is no plain scalar, as upstream does.
    pub(super) fn immutable(&mut self, path: &Path<'_>, new: &Value, old: &Value) {
        if new != old {
            self.invalid(path, new.clone(), "field is immutable");
        }
    }

    /// The same for a struct, which is shown as Go's own.
    pub(super) fn stays(&mut self, path: &Path<'_>, type_name: &str, new: &Value, old: &Value) {
        if new != old && new.is_object() {
            self.invalid_raw(path, go_text::shown(type_name, new), "field is immutable");
        } else if new != old {
            self.invalid(path, new.clone(), "field is immutable");
        }
    }
}

/// Nothing.
static NULL: Value = Value::Null;

/// A field of an object; null when it is missing.
pub(super) fn get<'a>(object: &'a Value, key: &str) -> &'a Value {
    object.get(key).unwrap_or(&NULL)
}

/// A field at a JSON pointer; null when it is missing.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    object.pointer(path).unwrap_or(&NULL)
}

/// The text of a field; empty when it is missing.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    get(object, key).as_str().unwrap_or_default()
}

/// The number of a field.
pub(super) fn int(object: &Value, key: &str) -> Option<i64> {
    get(object, key).as_i64()
}

/// The boolean of a field; false when it is missing.
pub(super) fn flag(object: &Value, key: &str) -> bool {
    get(object, key).as_bool().unwrap_or_default()
}

/// The items of a list field.
pub(super) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    get(object, key).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The texts of a list field.
pub(super) fn texts<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    list(object, key).iter().map(|item| item.as_str().unwrap_or_default())
}

/// The entries of a map field.
pub(super) fn entries<'a>(
    object: &'a Value,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    get(object, key).as_object().into_iter().flat_map(Map::iter)
}

/// Whether a field is there and not null.
pub(super) fn has(object: &Value, key: &str) -> bool {
    !get(object, key).is_null()
}

/// A value as Go shows one of a named type.
pub(super) fn shown(type_name: &str, value: &Value) -> String {
    match registry().find(type_name) {
        Some(ty) => shown_as(ty, value),
        None => value.to_string(),
    }
}

/// A value as Go shows one of a type.
pub(super) fn shown_as(ty: Ty<'_>, value: &Value) -> String {
    ordered(ty, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_only_when_needed() {
        let spec = Path::new("spec");
        let ports = spec.child("ports");
        let port = ports.index(2);
        assert_eq!(port.child("name").to_string(), "spec.ports[2].name");
        assert_eq!(spec.child("limits").key("cpu").to_string(), "spec.limits[cpu]");
    }
}
