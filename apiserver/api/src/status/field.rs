//! One thing that is wrong with one field, in the original's words.

use std::fmt;

use serde_json::Value;

use crate::facts::{Member, Node, Ty};

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The value can't be.
    Invalid,
    /// The value has the wrong type.
    TypeInvalid,
    /// The value is none of those that there are.
    NotSupported,
    /// What the value names is not there.
    NotFound,
    /// The value is there twice.
    Duplicate,
    /// There must be a value.
    Required,
    /// There may be no value, or no change.
    Forbidden,
    /// Too many bytes.
    TooLong,
    /// Too many items.
    TooMany,
    /// It could not be checked.
    Internal,
}

/// The value that an error shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Bad {
    /// None is shown.
    Omitted,
    /// A document.
    Value(Value),
    /// A text that is shown as it is.
    Raw(String),
}

/// One thing that is wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: Kind,
    /// Path of the field, such as `spec.ports[0].name`.
    pub field: String,
    /// The value.
    pub bad: Bad,
    /// Why it is wrong; may be empty.
    pub detail: String,
}

impl Kind {
    /// The words that a message begins with.
    fn words(self) -> &'static str {
        match self {
            Kind::Invalid | Kind::TypeInvalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::NotFound => "Not found",
            Kind::Duplicate => "Duplicate value",
            Kind::Required => "Required value",
            Kind::Forbidden => "Forbidden",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
            Kind::Internal => "Internal error",
        }
    }

    /// The reason of the cause.
    pub fn reason(self) -> &'static str {
        match self {
            Kind::Invalid => "FieldValueInvalid",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::NotFound => "FieldValueNotFound",
            Kind::Duplicate => "FieldValueDuplicate",
            Kind::Required => "FieldValueRequired",
            Kind::Forbidden => "FieldValueForbidden",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
            Kind::Internal => "InternalError",
        }
    }
}

impl FieldError {
    fn new(kind: Kind, field: &str, bad: Bad, detail: &str) -> FieldError {
        FieldError { kind, field: field.to_owned(), bad, detail: detail.to_owned() }
    }

    /// The value can't be.
    pub fn invalid(field: &str, value: impl Into<Value>, detail: &str) -> FieldError {
        FieldError::new(Kind::Invalid, field, Bad::Value(value.into()), detail)
    }

    /// The value can't be; it is shown as this text.
    pub fn invalid_raw(field: &str, shown: impl Into<String>, detail: &str) -> FieldError {
        FieldError::new(Kind::Invalid, field, Bad::Raw(shown.into()), detail)
    }

    /// The value has the wrong type.
    pub fn type_invalid(field: &str, value: impl Into<Value>, detail: &str) -> FieldError {
        FieldError::new(Kind::TypeInvalid, field, Bad::Value(value.into()), detail)
    }

    /// The value is none of `known`.
    pub fn not_supported(field: &str, value: impl Into<Value>, known: &[&str]) -> FieldError {
        let known: Vec<String> = known.iter().map(|text| format!("{text:?}")).collect();
        let detail = match known.as_slice() {
            [] => String::new(),
            known => format!("supported values: {}", known.join(", ")),
        };
        FieldError::new(Kind::NotSupported, field, Bad::Value(value.into()), &detail)
    }

    /// What the value names is not there.
    pub fn not_found(field: &str, value: impl Into<Value>) -> FieldError {
        FieldError::new(Kind::NotFound, field, Bad::Value(value.into()), "")
    }

    /// The value is there twice.
    pub fn duplicate(field: &str, value: impl Into<Value>) -> FieldError {
        FieldError::new(Kind::Duplicate, field, Bad::Value(value.into()), "")
    }

    /// The value is there twice; it is shown as this text.
    pub fn duplicate_raw(field: &str, shown: impl Into<String>) -> FieldError {
        FieldError::new(Kind::Duplicate, field, Bad::Raw(shown.into()), "")
    }

    /// There must be a value.
    pub fn required(field: &str, detail: &str) -> FieldError {
        FieldError::new(Kind::Required, field, Bad::Omitted, detail)
    }

    /// There may be no value, or no change.
    pub fn forbidden(field: &str, detail: &str) -> FieldError {
        FieldError::new(Kind::Forbidden, field, Bad::Omitted, detail)
    }

    /// More bytes than `most`.
    pub fn too_long(field: &str, most: usize) -> FieldError {
        let unit = if most == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {most} {unit}");
        FieldError::new(Kind::TooLong, field, Bad::Omitted, &detail)
    }

    /// More items than `most`.
    pub fn too_many(field: &str, count: usize, most: usize) -> FieldError {
        let unit = if most == 1 { "item" } else { "items" };
        let detail = format!("must have at most {most} {unit}");
        FieldError::new(Kind::TooMany, field, Bad::Value(count.into()), &detail)
    }

    /// It could not be checked.
    pub fn internal(field: &str, detail: &str) -> FieldError {
        FieldError::new(Kind::Internal, field, Bad::Omitted, detail)
    }

    /// With another detail.
    #[must_use]
    pub fn because(mut self, detail: &str) -> FieldError {
        detail.clone_into(&mut self.detail);
        self
    }

    /// Under a path: `spec` before `x` is `spec.x`.
    #[must_use]
    pub fn under(mut self, parent: &str) -> FieldError {
        self.field = match (parent.is_empty(), self.field.starts_with('[')) {
            (true, _) => self.field,
            (false, true) => format!("{parent}{}", self.field),
            (false, false) => format!("{parent}.{}", self.field),
        };
        self
    }

    /// The message without the path.
    pub fn body(&self) -> String {
        let words = self.kind.words();
        let mut out = match &self.bad {
            Bad::Omitted => words.to_owned(),
            Bad::Raw(text) => format!("{words}: {text}"),
            Bad::Value(Value::String(text)) => format!("{words}: {}", quoted(text)),
            Bad::Value(value) => format!("{words}: {value}"),
        };
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A text in quotes as Go writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A document as Go writes a value of this type: fields in the order of their protobuf numbers.
pub fn ordered(ty: Ty<'_>, value: &Value) -> String {
    match (ty.node(), value) {
        (Node::Struct(s), Value::Object(map)) => {
            let numbered = s.members.iter().filter_map(|(_, member)| match member {
                Member::Field(at) => s.fields.get(*at),
                Member::Embed(_) => None,
            });
            let rest = s.fields.iter().filter(|field| field.number == 0);
            let parts = numbered.chain(rest).filter_map(|field| {
                let value = map.get(field.json.as_ref())?;
                let shown = ordered(ty.at(field.ty), value);
                Some(format!("{}:{shown}", Value::from(field.json.as_ref())))
            });
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        (Node::List(list), Value::Array(items)) => {
            let items = items.iter().map(|item| ordered(ty.at(list.elem), item));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_words() {
        for (error, want) in [
            (FieldError::required("a", ""), "a: Required value"),
            (FieldError::invalid("a", Value::Null, "x"), "a: Invalid value: null: x"),
            (FieldError::invalid("a", "q\"", "x"), "a: Invalid value: \"q\\\"\": x"),
            (FieldError::too_long("a", 1), "a: Too long: may not be more than 1 byte"),
            (FieldError::too_many("a", 3, 2), "a: Too many: 3: must have at most 2 items"),
            (FieldError::duplicate("a", "x"), "a: Duplicate value: \"x\""),
            (FieldError::not_found("a", "x"), "a: Not found: \"x\""),
            (FieldError::forbidden("a", "no"), "a: Forbidden: no"),
        ] {
            assert_eq!(error.to_string(), want);
        }
        let known = FieldError::not_supported("a", "x", &["y", "z"]);
        assert_eq!(
            known.to_string(),
            "a: Unsupported value: \"x\": supported values: \"y\", \"z\""
        );
    }
}
