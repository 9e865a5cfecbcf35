//! Typed decoding: a parsed body against a type, with Go's errors and field validation.
//!
//! Like Go's decoder it goes on after a value of the wrong type and reports the first, while an
//! error of a type's own parser (time, quantity) ends it at once. Unknown and duplicate fields are
//! collected in body order; what becomes of them is the caller's strictness.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    Decoded, Error, Strictness,
    canonical::{finish, zero},
    json::{Doc, kept, number},
    time::{canonical_micro_time, canonical_time},
};
use crate::{
    facts::{Node, Scalar, Struct, Ty, Unknown},
    quantity::Quantity,
};

/// Decodes a plain value; `problems` were found before and come first.
pub(super) fn decode(
    ty: Ty<'_>,
    value: Value,
    problems: Vec<String>,
    strictness: Strictness,
) -> Result<Decoded, Error> {
    decode_doc(ty, Doc::from_value(value), problems, strictness)
}

/// Decodes a parsed body.
pub(super) fn decode_doc(
    ty: Ty<'_>,
    doc: Doc<'_>,
    problems: Vec<String>,
    strictness: Strictness,
) -> Result<Decoded, Error> {
    let mut walk = Walk {
        watch: strictness != Strictness::Ignore,
        problems,
        path: String::new(),
        structs: Vec::new(),
        fields: Vec::new(),
        first: None,
    };
    let value = walk.value(ty, doc)?;
    if let Some(error) = walk.first {
        return Err(error);
    }
    let value = if value.is_null() { zero(ty) } else { kept(value)? };
    match strictness {
        Strictness::Strict if !walk.problems.is_empty() => Err(Error::Strict(walk.problems)),
        Strictness::Warn => {
            let warnings = walk.problems.iter().flat_map(|problem| split(problem)).collect();
            Ok(Decoded { value, warnings })
        }
        Strictness::Strict | Strictness::Ignore => Ok(Decoded { value, warnings: Vec::new() }),
    }
}

/// A problem as warnings: YAML's duplicate keys are one problem and a warning each.
fn split(problem: &str) -> Vec<String> {
    match problem.strip_prefix("yaml: unmarshal errors:") {
        Some(lines) => {
            lines.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
        }
        None => vec![problem.to_owned()],
    }
}

/// Go's name of a type in errors.
pub(super) fn go_type(ty: Ty<'_>) -> String {
    let name = ty.name();
    if !name.is_empty() {
        let mut parts = name.rsplit('.');
        let (last, package) = (parts.next().unwrap_or_default(), parts.next());
        return package.map_or(last.to_owned(), |package| format!("{package}.{last}"));
    }
    match ty.node() {
        Node::Struct(_) => "struct {}".to_owned(),
        Node::List(l) => format!("[]{}", go_type(ty.at(l.elem))),
        Node::Map(m) => format!("map[string]{}", go_type(ty.at(m.value))),
        Node::Scalar(scalar) => match scalar {
            Scalar::Bool => "bool",
            Scalar::Int32 | Scalar::IntOrString => "int32",
            Scalar::Int64 => "int64",
            Scalar::Float64 => "float64",
            Scalar::Bytes => "[]uint8",
            Scalar::Any => "interface {}",
            _ => "string",
        }
        .to_owned(),
    }
}

/// A decoder at work.
struct Walk<'t> {
    /// Unknown and duplicate fields are wanted.
    watch: bool,
    /// Unknown and duplicate fields so far.
    problems: Vec<String>,
    /// Where we are, as such problems write it: `spec.containers[0].image`.
    path: String,
    /// Structs around us, innermost last.
    structs: Vec<&'t str>,
    /// Fields around us, as type errors write them, embedded structs included.
    fields: Vec<&'t str>,
    /// The first value of a wrong type.
    first: Option<Error>,
}

impl<'t> Walk<'t> {
    /// Decodes one value; null stands for nil and for zero.
    fn value(&mut self, ty: Ty<'t>, doc: Doc<'_>) -> Result<Value, Error> {
        if matches!(doc, Doc::Null) {
            return Ok(Value::Null);
        }
        match (ty.node(), doc) {
            (Node::Struct(s), Doc::Obj(fields)) => self.object(ty, s, fields),
            (Node::Map(m), Doc::Obj(fields)) => self.map(ty.at(m.value), fields),
            (Node::List(l), Doc::Arr(items)) => self.list(ty.at(l.elem), items),
            (Node::Scalar(scalar), doc) => self.scalar(ty, *scalar, doc),
            (_, doc) => Ok(self.mismatch(doc.word(), &go_type(ty))),
        }
    }

    fn object(
        &mut self,
        ty: Ty<'t>,
        s: &'t Struct,
        fields: Vec<(std::borrow::Cow<'_, str>, Doc<'_>)>,
    ) -> Result<Value, Error> {
        let mut out = Map::new();
        let length = self.path.len();
        self.structs.push(ty.name().rsplit('.').next().unwrap_or_default());
        for (key, doc) in fields {
            if self.watch {
                if length > 0 {
                    self.path.push('.');
                }
                self.path.push_str(&key);
            }
            match s.field(&key) {
                None if s.unknown == Unknown::Preserve => {
                    let value = doc.into_value(&mut self.path, &mut self.problems);
                    out.insert(key.into_owned(), value);
                }
                None => self.problem("unknown"),
                Some(field) => {
                    if out.contains_key(key.as_ref()) {
                        self.problem("duplicate");
                    }
                    let depth = self.fields.len();
                    if !field.embedded.is_empty() {
                        self.fields.push(&field.embedded);
                    }
                    self.fields.push(&field.json);
                    let value = self.value(ty.at(field.ty), doc)?;
                    self.fields.truncate(depth);
                    out.insert(key.into_owned(), value);
                }
            }
            self.path.truncate(length);
        }
        self.structs.pop();
        Ok(finish(ty, s, out))
    }

    fn map(
        &mut self,
        elem: Ty<'t>,
        fields: Vec<(std::borrow::Cow<'_, str>, Doc<'_>)>,
    ) -> Result<Value, Error> {
        let mut out = Map::new();
        let length = self.path.len();
        for (key, doc) in fields {
            if self.watch {
                if length > 0 {
                    self.path.push('.');
                }
                self.path.push_str(&key);
            }
            if out.contains_key(key.as_ref()) {
                self.problem("duplicate");
            }
            let value = self.value(elem, doc)?;
            out.insert(key.into_owned(), if value.is_null() { zero(elem) } else { value });
            self.path.truncate(length);
        }
        Ok(Value::Object(out))
    }

    fn list(&mut self, elem: Ty<'t>, items: Vec<Doc<'_>>) -> Result<Value, Error> {
        let mut out = Vec::with_capacity(items.len());
        let length = self.path.len();
        for (i, doc) in items.into_iter().enumerate() {
            if self.watch {
                self.path.push_str(&format!("[{i}]"));
            }
            let value = self.value(elem, doc)?;
            out.push(if value.is_null() { zero(elem) } else { value });
            self.path.truncate(length);
        }
        Ok(Value::Array(out))
    }

    fn scalar(&mut self, ty: Ty<'t>, scalar: Scalar, doc: Doc<'_>) -> Result<Value, Error> {
        match (scalar, doc) {
            (Scalar::String, Doc::Str(text)) => Ok(Value::String(text.into_owned())),
            (Scalar::Bool, Doc::Bool(b)) => Ok(Value::Bool(b)),
            (Scalar::Int32, Doc::Num(text)) => Ok(match text.parse::<i32>() {
                Ok(n) => Value::from(n),
                Err(_) => self.mismatch(&format!("number {text}"), &go_type(ty)),
            }),
            (Scalar::Int64, Doc::Num(text)) => Ok(match text.parse::<i64>() {
                Ok(n) => Value::from(n),
                Err(_) => self.mismatch(&format!("number {text}"), &go_type(ty)),
            }),
            (Scalar::Float64, Doc::Num(text)) => Ok(float(&text)),
            (Scalar::IntOrString, Doc::Str(text)) => Ok(Value::String(text.into_owned())),
            (Scalar::IntOrString, Doc::Num(text)) => Ok(match text.parse::<i32>() {
                Ok(n) => Value::from(n),
                Err(_) => self.mismatch(&format!("number {text}"), "int32"),
            }),
            (Scalar::IntOrString, doc) => Ok(self.mismatch(doc.word(), "int32")),
            (Scalar::Bytes, doc) => Ok(self.bytes(doc)),
            (Scalar::Quantity, doc) => quantity(&doc),
            (Scalar::Time, Doc::Str(text)) => {
                canonical_time(&text).map_err(Error::Mismatch).map(text_or_null)
            }
            (Scalar::MicroTime, Doc::Str(text)) => {
                canonical_micro_time(&text).map_err(Error::Mismatch).map(text_or_null)
            }
            (Scalar::Duration, Doc::Str(text)) => Ok(Value::String(text.into_owned())),
            (Scalar::Time | Scalar::MicroTime | Scalar::Duration, doc) => {
                Ok(self.mismatch(doc.word(), "string"))
            }
            (Scalar::Any, doc) => Ok(doc.into_value(&mut self.path, &mut self.problems)),
            (Scalar::RawExtension | Scalar::FieldsV1 | Scalar::Json, doc) => Ok(plain(doc)),
            (Scalar::SchemaOrBool | Scalar::SchemaOrArray | Scalar::SchemaOrStrings, doc) => {
                self.schema_or(ty, scalar, doc)
            }
            (_, doc) => Ok(self.mismatch(doc.word(), &go_type(ty))),
        }
    }

    /// Base64 text; Go also takes an array of small numbers.
    fn bytes(&mut self, doc: Doc<'_>) -> Value {
        match doc {
            Doc::Str(text) => {
                let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
                if STANDARD.decode(&clean).is_ok() {
                    return Value::String(clean);
                }
                self.save(Error::Mismatch(format!(
                    "illegal base64 data at input byte {}",
                    corrupt_at(&clean)
                )));
                Value::Null
            }
            Doc::Arr(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    match item {
                        Doc::Num(text) if text.parse::<u8>().is_ok() => {
                            out.push(text.parse::<u8>().unwrap_or_default());
                        }
                        Doc::Num(text) => {
                            return self.mismatch(&format!("number {text}"), "uint8");
                        }
                        other => return self.mismatch(other.word(), "uint8"),
                    }
                }
                Value::String(STANDARD.encode(out))
            }
            other => self.mismatch(other.word(), "[]uint8"),
        }
    }

    /// apiextensions' unions: a schema, or a boolean, a list of schemas, a list of strings.
    fn schema_or(&mut self, ty: Ty<'t>, scalar: Scalar, doc: Doc<'_>) -> Result<Value, Error> {
        let schema = ty
            .types()
            .find("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
        match (scalar, doc, schema) {
            (Scalar::SchemaOrBool, Doc::Bool(b), _) => Ok(Value::Bool(b)),
            (Scalar::SchemaOrArray, Doc::Arr(items), Some(schema)) => self.list(schema, items),
            (Scalar::SchemaOrStrings, Doc::Arr(items), _) => {
                Ok(Value::Array(items.into_iter().map(plain).collect()))
            }
            (_, doc @ Doc::Obj(_), Some(schema)) => self.value(schema, doc),
            (Scalar::SchemaOrBool, ..) => {
                Err(Error::Mismatch("boolean or JSON schema expected".to_owned()))
            }
            _ => Ok(Value::Null),
        }
    }

    /// Records an unknown or duplicate field at the current path, once.
    fn problem(&mut self, what: &str) {
        if !self.watch {
            return;
        }
        let text = format!("{what} field \"{}\"", self.path);
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    /// Records a value of the wrong type, if it is the first.
    fn mismatch(&mut self, what: &str, wanted: &str) -> Value {
        let place = match self.structs.last() {
            Some(name) if !self.fields.is_empty() => {
                format!("Go struct field {name}.{}", self.fields.join("."))
            }
            _ => "Go value".to_owned(),
        };
        self.save(Error::Mismatch(format!(
            "json: cannot unmarshal {what} into {place} of type {wanted}"
        )));
        Value::Null
    }

    fn save(&mut self, error: Error) {
        self.first.get_or_insert(error);
    }
}

fn text_or_null(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::String)
}

/// A value without looking into it.
fn plain(doc: Doc<'_>) -> Value {
    doc.into_value(&mut String::new(), &mut Vec::new())
}

fn float(text: &str) -> Value {
    match number(text) {
        // Go writes a whole float without a fraction.
        Value::Number(n) => match n.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "guarded by the range")]
            Some(f) if f.fract() == 0.0 && f.abs() < 1e15 => Value::from(f as i64),
            Some(f) => Value::from(f),
            None => Value::Null,
        },
        other => other,
    }
}

fn quantity(doc: &Doc<'_>) -> Result<Value, Error> {
    let text = match doc {
        Doc::Str(text) | Doc::Num(text) => text.trim(),
        _ => "x",
    };
    match text.parse::<Quantity>() {
        Ok(quantity) => Ok(Value::String(quantity.to_string())),
        Err(error) => Err(Error::Mismatch(error.to_string())),
    }
}

/// Where Go finds the first corrupt byte of a base64 text.
fn corrupt_at(text: &str) -> usize {
    let bytes = text.as_bytes();
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    match bytes.iter().position(|b| !good(*b)) {
        Some(at) if bytes[at] == b'=' && at % 4 >= 2 => {
            // Correct padding may be followed by garbage.
            let pad = 4 - at % 4;
            if bytes.len() > at + pad { at + pad } else { at.min(bytes.len()) }
        }
        Some(at) => at,
        None => bytes.len() / 4 * 4,
    }
}
