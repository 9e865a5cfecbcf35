//! JSON text to a document that keeps order, duplicates and the spelling of numbers.
//!
//! Strict decoding reports problems in body order and quotes numbers as written (`2.0` is no
//! integer), and syntax errors reach users in Go's words; no tree of a JSON library keeps that.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Error, TypeMeta};

/// Nesting that a body may have: what our stack can bear.
const MAX_DEPTH: usize = 500;

/// Nesting that may be left of it: what every later reader of the stored form can bear.
const MAX_KEPT: usize = 120;

/// A parsed body, as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Doc<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number's text.
    Num(Cow<'a, str>),
    /// A string's value.
    Str(Cow<'a, str>),
    /// An array.
    Arr(Vec<Doc<'a>>),
    /// An object, in body order, with duplicates.
    Obj(Vec<(Cow<'a, str>, Doc<'a>)>),
}

/// What stops the scanner: Go's text.
type Syntax = String;

/// Parses a whole body.
pub(crate) fn scan(bytes: &[u8]) -> Result<Doc<'_>, Error> {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.space();
    let doc = scanner.value(0).map_err(Error::Syntax)?;
    scanner.space();
    match scanner.bytes.get(scanner.at) {
        None => Ok(doc),
        Some(c) => Err(Error::Syntax(unexpected(*c, "after top-level value"))),
    }
}

/// Reads a body without a type: the value and its duplicate keys as strict errors.
pub(super) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), Error> {
    let doc = scan(bytes)?;
    let mut duplicates = Vec::new();
    let value = doc.into_value(&mut String::new(), &mut duplicates);
    Ok((kept(value)?, duplicates))
}

/// A value that is not nested too deep to be stored.
pub(super) fn kept(value: Value) -> Result<Value, Error> {
    if fits(&value, MAX_KEPT) {
        return Ok(value);
    }
    Err(Error::Syntax("exceeded max depth".to_owned()))
}

/// Whether a value has at most so many levels.
fn fits(value: &Value, levels: usize) -> bool {
    let deeper = |item: &Value| levels > 0 && fits(item, levels - 1);
    match value {
        Value::Array(items) => items.iter().all(deeper),
        Value::Object(map) => map.values().all(deeper),
        _ => true,
    }
}

/// The type meta of a body, with Go's complaint when it is no object.
pub(super) fn peek(bytes: &[u8]) -> Result<TypeMeta, Error> {
    peek_doc(&scan(bytes)?)
}

/// The type meta of a parsed body.
pub(crate) fn peek_doc(doc: &Doc<'_>) -> Result<TypeMeta, Error> {
    const SHAPE: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                         Kind string \"json:\\\"kind,omitempty\\\"\" }";
    let fields = match doc {
        Doc::Obj(fields) => fields,
        Doc::Null => return Ok(TypeMeta::default()),
        other => {
            let word = other.word();
            return Err(Error::Syntax(format!(
                "json: cannot unmarshal {word} into Go value of type {SHAPE}"
            )));
        }
    };
    let mut meta = TypeMeta::default();
    for (key, value) in fields {
        let slot = match key.as_ref() {
            "apiVersion" => &mut meta.api_version,
            "kind" => &mut meta.kind,
            _ => continue,
        };
        match value {
            Doc::Str(text) => *slot = text.to_string(),
            Doc::Null => {}
            other => {
                let word = other.word();
                return Err(Error::Syntax(format!(
                    "json: cannot unmarshal {word} into Go struct field .{key} of type string"
                )));
            }
        }
    }
    Ok(meta)
}

/// The type meta of a value.
pub(super) fn type_meta(value: &Value) -> TypeMeta {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    TypeMeta { api_version: text("apiVersion"), kind: text("kind") }
}

/// Writes a type meta into an object, where it is not empty.
pub(super) fn set_type_meta(map: &mut Map<String, Value>, meta: &TypeMeta) {
    for (key, text) in [("apiVersion", &meta.api_version), ("kind", &meta.kind)] {
        if !text.is_empty() {
            map.insert(key.to_owned(), Value::String(text.clone()));
        }
    }
}

impl Doc<'_> {
    /// Go's word for what it is, in errors.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Doc::Null => "null",
            Doc::Bool(_) => "bool",
            Doc::Num(_) => "number",
            Doc::Str(_) => "string",
            Doc::Arr(_) => "array",
            Doc::Obj(_) => "object",
        }
    }

    /// A plain value; of duplicate keys the last wins and all are reported.
    pub(crate) fn into_value(self, path: &mut String, duplicates: &mut Vec<String>) -> Value {
        match self {
            Doc::Null => Value::Null,
            Doc::Bool(b) => Value::Bool(b),
            Doc::Num(text) => number(&text),
            Doc::Str(text) => Value::String(text.into_owned()),
            Doc::Arr(items) => {
                let length = path.len();
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.into_iter().enumerate() {
                    path.push_str(&format!("[{i}]"));
                    out.push(item.into_value(path, duplicates));
                    path.truncate(length);
                }
                Value::Array(out)
            }
            Doc::Obj(fields) => {
                let length = path.len();
                let mut out = Map::new();
                for (key, value) in fields {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(&key);
                    if out.contains_key(key.as_ref()) {
                        let problem = format!("duplicate field \"{path}\"");
                        if !duplicates.contains(&problem) {
                            duplicates.push(problem);
                        }
                    }
                    let value = value.into_value(path, duplicates);
                    out.insert(key.into_owned(), value);
                    path.truncate(length);
                }
                Value::Object(out)
            }
        }
    }

    /// A document of a plain value.
    pub(crate) fn from_value(value: Value) -> Doc<'static> {
        match value {
            Value::Null => Doc::Null,
            Value::Bool(b) => Doc::Bool(b),
            Value::Number(n) => Doc::Num(n.to_string().into()),
            Value::String(s) => Doc::Str(s.into()),
            Value::Array(items) => Doc::Arr(items.into_iter().map(Doc::from_value).collect()),
            Value::Object(map) => {
                Doc::Obj(map.into_iter().map(|(k, v)| (k.into(), Doc::from_value(v))).collect())
            }
        }
    }
}

/// A number as an untyped reader keeps it: an integer when written as one, else a float.
pub(crate) fn number(text: &str) -> Value {
    if let Ok(n) = text.parse::<i64>() {
        return Value::from(n);
    }
    if let Ok(n) = text.parse::<u64>() {
        return Value::from(n);
    }
    text.parse::<f64>().ok().map_or(Value::Null, Value::from)
}

/// A cursor over the text.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Go's message for a byte out of place.
fn unexpected(c: u8, context: &str) -> Syntax {
    let quoted = match c {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        7 => "'\\a'".to_owned(),
        8 => "'\\b'".to_owned(),
        11 => "'\\v'".to_owned(),
        12 => "'\\f'".to_owned(),
        c if c < 0x20 || c == 0x7f => format!("'\\x{c:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{c:04x}'"),
        c => format!("'{}'", char::from(c)),
    };
    format!("invalid character {quoted} {context}")
}

const END: &str = "unexpected end of JSON input";

impl<'a> Scanner<'a> {
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, Syntax> {
        self.bytes.get(self.at).copied().ok_or_else(|| END.to_owned())
    }

    fn value(&mut self, depth: usize) -> Result<Doc<'a>, Syntax> {
        let c = self.peek()?;
        if depth >= MAX_DEPTH && matches!(c, b'{' | b'[') {
            return Err(unexpected(c, "exceeded max depth"));
        }
        match c {
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => self.string().map(Doc::Str),
            b'-' | b'0'..=b'9' => self.number().map(Doc::Num),
            b't' => self.literal("true").map(|()| Doc::Bool(true)),
            b'f' => self.literal("false").map(|()| Doc::Bool(false)),
            b'n' => self.literal("null").map(|()| Doc::Null),
            c => Err(unexpected(c, "looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), Syntax> {
        for (i, want) in word.bytes().enumerate() {
            let c = self.peek()?;
            if c != want {
                debug_assert!(i > 0, "the first letter chose the literal");
                let context = format!("in literal {word} (expecting '{}')", char::from(want));
                return Err(unexpected(c, &context));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<Doc<'a>, Syntax> {
        self.at += 1;
        let mut fields = Vec::new();
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(Doc::Obj(fields));
        }
        loop {
            self.space();
            let c = self.peek()?;
            if c != b'"' {
                return Err(unexpected(c, "looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.space();
            match self.peek()? {
                b':' => self.at += 1,
                c => return Err(unexpected(c, "after object key")),
            }
            self.space();
            fields.push((key, self.value(depth)?));
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(Doc::Obj(fields));
                }
                c => return Err(unexpected(c, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Doc<'a>, Syntax> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(Doc::Arr(items));
        }
        loop {
            self.space();
            items.push(self.value(depth)?);
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(Doc::Arr(items));
                }
                c => return Err(unexpected(c, "after array element")),
            }
        }
    }

    fn digits(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<Cow<'a, str>, Syntax> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            c => return Err(unexpected(c, "in numeric literal")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            match self.peek()? {
                b'0'..=b'9' => self.digits(),
                c => return Err(unexpected(c, "after decimal point in numeric literal")),
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            match self.peek()? {
                b'0'..=b'9' => self.digits(),
                c => return Err(unexpected(c, "in exponent of numeric literal")),
            }
        }
        Ok(String::from_utf8_lossy(&self.bytes[start..self.at]))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Syntax> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    let text = String::from_utf8_lossy(&self.bytes[start..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => return self.escaped(start).map(Cow::Owned),
                c if c < 0x20 => return Err(unexpected(c, "in string literal")),
                _ => self.at += 1,
            }
        }
    }

    /// The rest of a string that has an escape at the cursor.
    fn escaped(&mut self, start: usize) -> Result<String, Syntax> {
        let mut out = String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned();
        let mut plain = self.at;
        loop {
            let c = self.peek()?;
            if c != b'\\' && c != b'"' {
                if c < 0x20 {
                    return Err(unexpected(c, "in string literal"));
                }
                self.at += 1;
                continue;
            }
            out.push_str(&String::from_utf8_lossy(&self.bytes[plain..self.at]));
            self.at += 1;
            if c == b'"' {
                return Ok(out);
            }
            let escape = self.peek()?;
            self.at += 1;
            match escape {
                b'"' | b'\\' | b'/' => out.push(char::from(escape)),
                b'b' => out.push('\u{8}'),
                b'f' => out.push('\u{c}'),
                b'n' => out.push('\n'),
                b'r' => out.push('\r'),
                b't' => out.push('\t'),
                b'u' => out.push(self.unicode()?),
                c => return Err(unexpected(c, "in string escape code")),
            }
            plain = self.at;
        }
    }

    /// Four hexadecimal digits, or two times four for a surrogate pair.
    fn unicode(&mut self) -> Result<char, Syntax> {
        let high = self.hex4()?;
        if (0xd800..0xdc00).contains(&high) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            self.at = back;
        }
        Ok(char::from_u32(high).unwrap_or('\u{fffd}'))
    }

    fn hex4(&mut self) -> Result<u32, Syntax> {
        let mut code = 0;
        for _ in 0..4 {
            let c = self.peek()?;
            let digit = char::from(c)
                .to_digit(16)
                .ok_or_else(|| unexpected(c, "in \\u hexadecimal character escape"))?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}
