//! YAML 1.1 to the document that JSON would have given, as upstream's converter does.
//!
//! Only the first document counts. Plain `yes`, `on`, `y` are booleans, keys become strings, keys
//! are sorted, of duplicate keys the last wins and each is reported with its line. Syntax errors use
//! libyaml's words, because users see them.
//!
//! Missing: complex keys (`? `), which no Kubernetes object can have.

mod flow;
mod resolve;
mod scalar;

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

use super::{Error, json::Doc};

/// Nesting that a body may have.
const MAX_DEPTH: usize = 120;
/// Nodes that aliases may expand to, so that a small body can't become a huge one.
const MAX_ALIASED: usize = 100_000;

/// Parses the first document; problems are duplicate keys, as one strict error.
pub(crate) fn scan(bytes: &[u8]) -> Result<(Doc<'static>, Vec<String>), Error> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut parser = Parser::new(text);
    let doc = parser.document().map_err(Error::Yaml)?;
    let mut problems = Vec::new();
    if !parser.duplicates.is_empty() {
        let lines: Vec<String> = parser.duplicates.iter().map(|d| format!("\n  {d}")).collect();
        problems.push(format!("yaml: unmarshal errors:{}", lines.concat()));
    }
    Ok((doc, problems))
}

/// Reads a body without a type.
pub(super) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), Error> {
    let (doc, problems) = scan(bytes)?;
    Ok((doc.into_value(&mut String::new(), &mut Vec::new()), problems))
}

/// An anchored node and how many nodes it has.
type Anchor = (Doc<'static>, usize);

/// A cursor over the text.
struct Parser<'a> {
    s: &'a [u8],
    at: usize,
    /// Line of the cursor, from 0.
    line: usize,
    /// Where the line begins.
    start: usize,
    anchors: HashMap<String, Anchor>,
    duplicates: Vec<String>,
    depth: usize,
    aliased: usize,
}

/// Tag and anchor before a node.
#[derive(Default)]
struct Properties {
    tag: Option<String>,
    anchor: Option<String>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        Parser {
            s: text.as_bytes(),
            at: 0,
            line: 0,
            start: 0,
            anchors: HashMap::new(),
            duplicates: Vec::new(),
            depth: 0,
            aliased: 0,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.s.get(self.at).copied()
    }

    fn ahead(&self, n: usize) -> Option<u8> {
        self.s.get(self.at + n).copied()
    }

    fn column(&self) -> usize {
        self.at - self.start
    }

    /// An error of libyaml's parser; the scanner's count lines from 1.
    fn parser_error(&self, message: &str) -> String {
        at_line(self.line, message)
    }

    fn scanner_error(&self, message: &str) -> String {
        at_line(if self.line == 0 { 0 } else { self.line + 1 }, message)
    }

    fn newline(&mut self) {
        if self.peek() == Some(b'\r') && self.ahead(1) == Some(b'\n') {
            self.at += 1;
        }
        self.at += 1;
        self.line += 1;
        self.start = self.at;
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn comment(&mut self) {
        while !matches!(self.peek(), None | Some(b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes to the next token, over blanks, comments and line ends.
    fn token(&mut self) {
        loop {
            match self.peek() {
                Some(b' ') => self.at += 1,
                Some(b'\t') if self.inside_line() => self.at += 1,
                Some(b'\n' | b'\r') => self.newline(),
                Some(b'#') if self.blank_before() => self.comment(),
                _ => return,
            }
        }
    }

    /// Something other than spaces precedes the cursor on its line, or the line is blank.
    fn inside_line(&self) -> bool {
        let before = &self.s[self.start..self.at];
        let mut rest = self.s[self.at..].iter().skip_while(|b| matches!(b, b' ' | b'\t'));
        before.iter().any(|b| *b != b' ') || matches!(rest.next(), None | Some(b'\n' | b'\r'))
    }

    fn blank_before(&self) -> bool {
        self.at == self.start || matches!(self.s[self.at - 1], b' ' | b'\t')
    }

    /// `---` or `...` at the start of a line.
    fn marker(&self) -> bool {
        self.column() == 0
            && (self.s[self.at..].starts_with(b"---") || self.s[self.at..].starts_with(b"..."))
            && is_blank(self.ahead(3))
    }

    fn document(&mut self) -> Result<Doc<'static>, String> {
        self.token();
        while self.peek() == Some(b'%') && self.column() == 0 {
            self.comment();
            self.token();
        }
        if self.marker() && self.peek() == Some(b'-') {
            self.at += 3;
            self.spaces();
        }
        let doc = self.block(-1)?;
        self.token();
        if self.peek().is_none() || self.marker() {
            return Ok(doc);
        }
        if self.peek() == Some(b'\t') {
            return Err(self.scanner_error("found character that cannot start any token"));
        }
        if self.peek() == Some(b':') {
            return Err(self.scanner_error("mapping values are not allowed in this context"));
        }
        Err(self.parser_error("did not find expected <document start>"))
    }

    /// A node whose parent sits at `parent`; null when the next token is not deeper.
    fn block(&mut self, parent: isize) -> Result<Doc<'static>, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        let node = self.block_node(parent);
        self.depth -= 1;
        node
    }

    fn block_node(&mut self, parent: isize) -> Result<Doc<'static>, String> {
        self.token();
        if self.ended(parent) {
            return Ok(Doc::Null);
        }
        let line = self.line;
        let (begin, begin_column) = (self.at, self.column());
        let mut properties = self.properties()?;
        let named = properties.tag.is_some() || properties.anchor.is_some();
        if named {
            self.token();
            if self.line != line {
                if self.ended(parent) {
                    return self.finish(&properties, resolve::typed(&properties.tag, "")?);
                }
            } else if self.key_ahead() {
                // The properties belong to the first key.
                (self.at, properties) = (begin, Properties::default());
                return self.mapping(begin_column, &properties);
            }
        }
        let column = self.column();
        let doc = match self.peek() {
            None => resolve::typed(&properties.tag, "")?,
            Some(b'-') if is_blank(self.ahead(1)) => return self.sequence(column, &properties),
            Some(b'\t') => {
                return Err(self.scanner_error("found character that cannot start any token"));
            }
            Some(b'|' | b'>') => {
                let text = self.block_scalar(parent)?;
                resolve::quoted(&properties.tag, text)?
            }
            Some(_) if self.key_ahead() => return self.mapping(column, &properties),
            Some(b'[' | b'{') => self.flow()?,
            Some(b'*') => self.alias()?,
            Some(b'"') => {
                let text = self.double()?;
                resolve::quoted(&properties.tag, text)?
            }
            Some(b'\'') => {
                let text = self.single()?;
                resolve::quoted(&properties.tag, text)?
            }
            Some(_) => {
                let text = self.plain(parent, false)?;
                resolve::typed(&properties.tag, &text)?
            }
        };
        self.after_value()?;
        self.finish(&properties, doc)
    }

    /// Nothing more belongs to a node whose parent sits at `parent`.
    fn ended(&self, parent: isize) -> bool {
        self.peek().is_none() || self.marker() || self.column().cast_signed() <= parent
    }

    /// A value must be followed by the end of its line.
    fn after_value(&mut self) -> Result<(), String> {
        if self.column() == 0 {
            return Ok(());
        }
        self.spaces();
        match self.peek() {
            None | Some(b'\n' | b'\r') => Ok(()),
            Some(b'#') if self.blank_before() => Ok(()),
            Some(b':') => Err(self.scanner_error("mapping values are not allowed in this context")),
            Some(_) => Err(self.parser_error("did not find expected key")),
        }
    }

    fn finish(
        &mut self,
        properties: &Properties,
        doc: Doc<'static>,
    ) -> Result<Doc<'static>, String> {
        if let Some(anchor) = &properties.anchor {
            self.anchors.insert(anchor.clone(), (doc.clone(), count(&doc)));
        }
        Ok(doc)
    }

    /// `&anchor` and `!tag` before a node.
    fn properties(&mut self) -> Result<Properties, String> {
        let mut properties = Properties::default();
        loop {
            let slot = match self.peek() {
                Some(b'&') => &mut properties.anchor,
                Some(b'!') => &mut properties.tag,
                _ => return Ok(properties),
            };
            let begin = self.at + 1;
            while !is_blank(self.s.get(self.at).copied())
                && !matches!(self.s[self.at], b',' | b']' | b'}')
            {
                self.at += 1;
            }
            if begin > self.at {
                return Err(self.scanner_error("did not find expected alphabetic character"));
            }
            *slot = Some(String::from_utf8_lossy(&self.s[begin..self.at]).into_owned());
            self.spaces();
        }
    }

    fn alias(&mut self) -> Result<Doc<'static>, String> {
        let begin = self.at + 1;
        self.at = begin;
        while !is_blank(self.peek()) && !matches!(self.peek(), Some(b',' | b']' | b'}' | b':')) {
            self.at += 1;
        }
        let name = String::from_utf8_lossy(&self.s[begin..self.at]).into_owned();
        let Some((doc, size)) = self.anchors.get(&name) else {
            return Err(format!("unknown anchor '{name}' referenced"));
        };
        self.aliased += size;
        if self.aliased > MAX_ALIASED {
            return Err("document contains excessive aliasing".to_owned());
        }
        Ok(doc.clone())
    }

    fn sequence(&mut self, column: usize, properties: &Properties) -> Result<Doc<'static>, String> {
        let mut items = Vec::new();
        loop {
            self.at += 1;
            items.push(self.block(column.cast_signed())?);
            self.token();
            if self.ended(column.cast_signed() - 1) {
                break;
            }
            match (self.column() == column, self.peek(), is_blank(self.ahead(1))) {
                (true, Some(b'-'), true) => {}
                // A sequence may sit at its mapping's own column.
                (true, Some(_), _) => break,
                _ => return Err(self.parser_error("did not find expected '-' indicator")),
            }
        }
        self.finish(properties, Doc::Arr(items))
    }

    fn mapping(&mut self, column: usize, properties: &Properties) -> Result<Doc<'static>, String> {
        let mut entries: Vec<(String, Doc<'static>)> = Vec::new();
        let mut merges = Vec::new();
        loop {
            let line = self.line;
            let (key, merge) = self.key()?;
            self.spaces();
            if self.peek() != Some(b':') {
                return Err(self.scanner_error("could not find expected ':'"));
            }
            self.at += 1;
            let value = self.entry_value(column)?;
            if merge {
                merges.push(value);
            } else {
                self.insert(&mut entries, key, value, line);
            }
            self.token();
            if self.ended(column.cast_signed() - 1) {
                break;
            }
            if self.column() > column || self.peek() == Some(b'\t') || !self.key_ahead() {
                if self.peek() == Some(b'\t') {
                    return Err(self.scanner_error("found character that cannot start any token"));
                }
                let message = if self.column() == column && self.peek() != Some(b'-') {
                    self.scanner_error("could not find expected ':'")
                } else {
                    self.parser_error("did not find expected key")
                };
                return Err(message);
            }
        }
        let doc = object(entries, merges)?;
        self.finish(properties, doc)
    }

    /// Adds an entry; a key that is there already is overwritten and reported.
    fn insert(
        &mut self,
        entries: &mut Vec<(String, Doc<'static>)>,
        key: String,
        value: Doc<'static>,
        line: usize,
    ) {
        if let Some((_, old)) = entries.iter_mut().find(|(k, _)| *k == key) {
            *old = value;
            self.duplicates.push(format!("line {}: key {key:?} already set in map", line + 1));
        } else {
            entries.push((key, value));
        }
    }

    /// The value after a key's colon.
    fn entry_value(&mut self, column: usize) -> Result<Doc<'static>, String> {
        let line = self.line;
        self.token();
        let same_column_list = self.line != line
            && !self.ended(column.cast_signed() - 1)
            && self.column() == column
            && self.peek() == Some(b'-')
            && is_blank(self.ahead(1));
        if same_column_list {
            return self.block(column.cast_signed() - 1);
        }
        if self.line == line && self.key_ahead() {
            return Err(self.scanner_error("mapping values are not allowed in this context"));
        }
        if self.line == line && self.peek() == Some(b'-') && is_blank(self.ahead(1)) {
            return Err(
                self.scanner_error("block sequence entries are not allowed in this context")
            );
        }
        self.block(column.cast_signed())
    }

    /// A key's text, and whether it is the merge key `<<`.
    fn key(&mut self) -> Result<(String, bool), String> {
        let properties = self.properties()?;
        let plain = !matches!(self.peek(), Some(b'"' | b'\'' | b'*'));
        let doc = match self.peek() {
            Some(b'"') => Doc::Str(self.double()?.into()),
            Some(b'\'') => Doc::Str(self.single()?.into()),
            Some(b'*') => self.alias()?,
            _ => {
                let text = self.plain_line(false);
                if plain && text == "<<" {
                    return Ok((String::new(), true));
                }
                resolve::typed(&properties.tag, &text)?
            }
        };
        let doc = self.finish(&properties, doc)?;
        Ok((key_text(&doc)?, false))
    }
}

/// A line of libyaml's errors; the first line goes without.
fn at_line(line: usize, message: &str) -> String {
    if line == 0 { message.to_owned() } else { format!("line {line}: {message}") }
}

fn is_blank(byte: Option<u8>) -> bool {
    matches!(byte, None | Some(b' ' | b'\t' | b'\n' | b'\r'))
}

fn count(doc: &Doc<'_>) -> usize {
    match doc {
        Doc::Arr(items) => 1 + items.iter().map(count).sum::<usize>(),
        Doc::Obj(fields) => 1 + fields.iter().map(|(_, v)| count(v)).sum::<usize>(),
        _ => 1,
    }
}

/// A key as JSON writes it.
fn key_text(doc: &Doc<'_>) -> Result<String, String> {
    match doc {
        Doc::Str(text) | Doc::Num(text) => Ok(text.to_string()),
        Doc::Bool(b) => Ok(b.to_string()),
        Doc::Null => Ok("null".to_owned()),
        Doc::Arr(_) | Doc::Obj(_) => Err("invalid map key".to_owned()),
    }
}

/// A mapping with merged ones beneath, sorted by key.
fn object(
    mut entries: Vec<(String, Doc<'static>)>,
    merges: Vec<Doc<'static>>,
) -> Result<Doc<'static>, String> {
    let sources = merges.into_iter().flat_map(|m| match m {
        Doc::Arr(items) => items,
        other => vec![other],
    });
    for source in sources {
        let Doc::Obj(fields) = source else {
            return Err("map merge requires map or sequence of maps as the value".to_owned());
        };
        for (key, value) in fields {
            if !entries.iter().any(|(k, _)| *k == key) {
                entries.push((key.into_owned(), value));
            }
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Doc::Obj(entries.into_iter().map(|(k, v)| (Cow::Owned(k), v)).collect()))
}
