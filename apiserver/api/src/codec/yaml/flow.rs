//! Flow collections: `[a, b]` and `{a: b}`.

use super::{super::json::Doc, MAX_DEPTH, Parser, is_blank, key_text, object, resolve};

impl Parser<'_> {
    /// A flow collection at the cursor.
    pub(super) fn flow(&mut self) -> Result<Doc<'static>, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        let doc = if self.peek() == Some(b'[') { self.flow_list() } else { self.flow_map() };
        self.depth -= 1;
        doc
    }

    fn flow_list(&mut self) -> Result<Doc<'static>, String> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.token();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Doc::Arr(items));
            }
            let item = self.flow_node()?;
            self.token();
            // A single pair `[a: b]` is a mapping.
            let item = if self.peek() == Some(b':') {
                self.at += 1;
                self.token();
                let value = self.flow_node()?;
                object(vec![(key_text(&item)?, value)], Vec::new())?
            } else {
                item
            };
            items.push(item);
            self.token();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {}
                _ => return Err(self.flow_error("did not find expected ',' or ']'")),
            }
        }
    }

    fn flow_map(&mut self) -> Result<Doc<'static>, String> {
        self.at += 1;
        let (mut entries, mut merges) = (Vec::new(), Vec::new());
        loop {
            self.token();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return object(entries, merges);
            }
            let line = self.line;
            let merge = self.s[self.at..].starts_with(b"<<");
            let key = key_text(&self.flow_node()?)?;
            self.token();
            let mut value = Doc::Null;
            if self.peek() == Some(b':') {
                self.at += 1;
                self.token();
                if !matches!(self.peek(), Some(b',' | b'}')) {
                    value = self.flow_node()?;
                }
            }
            if merge {
                merges.push(value);
            } else {
                self.insert(&mut entries, key, value, line);
            }
            self.token();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ => return Err(self.flow_error("did not find expected ',' or '}'")),
            }
        }
    }

    /// At the end of the text libyaml stands on the line after the last.
    fn flow_error(&self, message: &str) -> String {
        if self.peek() == Some(b'\t') {
            return self.scanner_error("found character that cannot start any token");
        }
        self.parser_error(message)
    }

    fn flow_node(&mut self) -> Result<Doc<'static>, String> {
        let properties = self.properties()?;
        self.token();
        let doc = match self.peek() {
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
            Some(b'%' | b'@' | b'`') => {
                return Err(self.scanner_error("found character that cannot start any token"));
            }
            None => return Err(self.parser_error("did not find expected node content")),
            Some(b',' | b']' | b'}') if properties.tag.is_none() => {
                return Err(self.parser_error("did not find expected node content"));
            }
            Some(_) => {
                let text = self.plain(-1, true)?;
                resolve::typed(&properties.tag, &text)?
            }
        };
        self.finish(&properties, doc)
    }

    /// The text before the next `: ` on this line is a key.
    pub(super) fn key_ahead(&self) -> bool {
        let line = match self.s[self.at..].iter().position(|b| matches!(b, b'\n' | b'\r')) {
            Some(end) => &self.s[self.at..self.at + end],
            None => &self.s[self.at..],
        };
        let mut at = 0;
        let colon = |at: usize| line.get(at) == Some(&b':') && is_blank(line.get(at + 1).copied());
        let spaces = |mut at: usize| {
            while matches!(line.get(at), Some(b' ' | b'\t')) {
                at += 1;
            }
            at
        };
        // Properties may precede a key.
        while matches!(line.get(at), Some(b'&' | b'!')) {
            while !is_blank(line.get(at).copied()) {
                at += 1;
            }
            at = spaces(at);
        }
        match line.get(at) {
            Some(quote @ (b'"' | b'\'')) => {
                let mut end = at + 1;
                while let Some(c) = line.get(end) {
                    match c {
                        b'\\' if *quote == b'"' => end += 1,
                        c if c == quote && line.get(end + 1) == Some(quote) && *quote == b'\'' => {
                            end += 1;
                        }
                        c if c == quote => return colon(spaces(end + 1)),
                        _ => {}
                    }
                    end += 1;
                }
                false
            }
            Some(b'[' | b'{' | b'#' | b'|' | b'>' | b'%' | b'@' | b'`') => false,
            _ => {
                while at < line.len() {
                    if colon(at) {
                        return true;
                    }
                    if line[at] == b'#' && at > 0 && is_blank(line.get(at - 1).copied()) {
                        return false;
                    }
                    at += 1;
                }
                false
            }
        }
    }
}
