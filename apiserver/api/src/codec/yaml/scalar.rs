//! Scalars: plain ones over several lines, quoted ones, literal and folded blocks.

use super::{Parser, is_blank};

impl Parser<'_> {
    /// A plain scalar's part on this line, without trailing blanks.
    pub(super) fn plain_line(&mut self, flow: bool) -> String {
        let begin = self.at;
        while let Some(c) = self.peek() {
            let next = self.ahead(1);
            let stop = match c {
                b'\n' | b'\r' => true,
                b':' => is_blank(next) || flow && matches!(next, Some(b',' | b']' | b'}')),
                b'#' => self.at > begin && is_blank(Some(self.s[self.at - 1])),
                b',' | b'[' | b']' | b'{' | b'}' => flow,
                _ => false,
            };
            if stop {
                break;
            }
            self.at += 1;
        }
        let mut end = self.at;
        while end > begin && matches!(self.s[end - 1], b' ' | b'\t') {
            end -= 1;
        }
        String::from_utf8_lossy(&self.s[begin..end]).into_owned()
    }

    /// A plain scalar; it goes on over lines that are deeper than `parent`.
    pub(super) fn plain(&mut self, parent: isize, flow: bool) -> Result<String, String> {
        if matches!(self.peek(), Some(b'%' | b'@' | b'`')) {
            return Err(self.scanner_error("found character that cannot start any token"));
        }
        if matches!(self.peek(), Some(b']' | b'}' | b',')) {
            return Err(self.parser_error("did not find expected node content"));
        }
        let mut text = self.plain_line(flow);
        loop {
            let (at, line, start) = (self.at, self.line, self.start);
            self.spaces();
            if self.peek() == Some(b'#') || !matches!(self.peek(), Some(b'\n' | b'\r')) {
                (self.at, self.line, self.start) = (at, line, start);
                return Ok(text);
            }
            let mut breaks = 0;
            while matches!(self.peek(), Some(b'\n' | b'\r')) {
                self.newline();
                breaks += 1;
                self.spaces();
            }
            let over = if flow {
                matches!(self.peek(), None | Some(b',' | b']' | b'}' | b'#' | b':'))
            } else {
                self.ended(parent) || self.peek() == Some(b'#')
            };
            if over {
                (self.at, self.line, self.start) = (at, line, start);
                return Ok(text);
            }
            if !flow && self.key_ahead() {
                return Err(self.scanner_error("mapping values are not allowed in this context"));
            }
            fold(&mut text, breaks);
            text.push_str(&self.plain_line(flow));
        }
    }

    /// A single-quoted scalar.
    pub(super) fn single(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => {
                    return Err(self.scanner_error("found unexpected end of stream"));
                }
                Some(b'\'') if self.ahead(1) == Some(b'\'') => {
                    out.push(b'\'');
                    self.at += 2;
                }
                Some(b'\'') => {
                    self.at += 1;
                    return Ok(String::from_utf8_lossy(&out).into_owned());
                }
                Some(b'\n' | b'\r') => self.quoted_break(&mut out),
                Some(c) => {
                    out.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// A double-quoted scalar.
    pub(super) fn double(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => {
                    return Err(self.scanner_error("found unexpected end of stream"));
                }
                Some(b'"') => {
                    self.at += 1;
                    return Ok(String::from_utf8_lossy(&out).into_owned());
                }
                Some(b'\\') => self.escape(&mut out)?,
                Some(b'\n' | b'\r') => self.quoted_break(&mut out),
                Some(c) => {
                    out.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// Folds a line break within quotes.
    fn quoted_break(&mut self, out: &mut Vec<u8>) {
        while matches!(out.last(), Some(b' ' | b'\t')) {
            out.pop();
        }
        let mut breaks = 0;
        while matches!(self.peek(), Some(b'\n' | b'\r')) {
            self.newline();
            breaks += 1;
            self.spaces();
        }
        if breaks == 1 {
            out.push(b' ');
        } else {
            out.extend(std::iter::repeat_n(b'\n', breaks - 1));
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.at += 1;
        let c = self.peek();
        let length = match c {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        if length > 0 {
            let digits = self.s.get(self.at + 1..self.at + 1 + length);
            let code = digits
                .and_then(|d| std::str::from_utf8(d).ok())
                .and_then(|d| u32::from_str_radix(d, 16).ok());
            let Some(code) = code else {
                return Err(self.scanner_error("did not find expected hexdecimal number"));
            };
            let c = char::from_u32(code).unwrap_or('\u{fffd}');
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            self.at += 1 + length;
            return Ok(());
        }
        let text = match c {
            Some(b'0') => "\0",
            Some(b'a') => "\u{7}",
            Some(b'b') => "\u{8}",
            Some(b't' | b'\t') => "\t",
            Some(b'n') => "\n",
            Some(b'v') => "\u{b}",
            Some(b'f') => "\u{c}",
            Some(b'r') => "\r",
            Some(b'e') => "\u{1b}",
            Some(b' ') => " ",
            Some(b'"') => "\"",
            Some(b'/') => "/",
            Some(b'\'') => "'",
            Some(b'\\') => "\\",
            Some(b'N') => "\u{85}",
            Some(b'_') => "\u{a0}",
            Some(b'L') => "\u{2028}",
            Some(b'P') => "\u{2029}",
            Some(b'\n' | b'\r') => {
                // An escaped line break joins the lines.
                self.newline();
                self.spaces();
                return Ok(());
            }
            _ => return Err(self.scanner_error("found unknown escape character")),
        };
        out.extend_from_slice(text.as_bytes());
        self.at += 1;
        Ok(())
    }

    /// A literal (`|`) or folded (`>`) block whose parent sits at `parent`.
    pub(super) fn block_scalar(&mut self, parent: isize) -> Result<String, String> {
        let folded = self.peek() == Some(b'>');
        self.at += 1;
        let (mut chomp, mut explicit) = (b' ', None);
        while let Some(c) = self.peek() {
            match c {
                b'+' | b'-' => chomp = c,
                b'1'..=b'9' => explicit = Some(usize::from(c - b'0')),
                _ => break,
            }
            self.at += 1;
        }
        self.spaces();
        self.comment();
        if self.peek().is_some() {
            self.newline();
        }
        let base = usize::try_from(parent.max(0)).unwrap_or(0);
        let indent = match explicit {
            Some(extra) => base + extra,
            None => self.block_indent().max(usize::try_from(parent + 1).unwrap_or(0)),
        };
        let lines = self.block_lines(indent);
        Ok(chomped(&lines, folded, chomp))
    }

    /// The indentation of the first line with text.
    fn block_indent(&self) -> usize {
        let mut widest = 0;
        for line in self.s[self.at..].split(|b| *b == b'\n') {
            let spaces = line.iter().take_while(|b| **b == b' ').count();
            if line.iter().any(|b| !matches!(b, b' ' | b'\r')) {
                return spaces;
            }
            widest = widest.max(spaces);
        }
        widest
    }

    /// The block's lines without their indentation; blank lines are empty.
    fn block_lines(&mut self, indent: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while self.peek().is_some() {
            let rest = &self.s[self.at..];
            let length = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
            let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
            let spaces = line.iter().take_while(|b| **b == b' ').count();
            let blank = spaces == line.len();
            let marker = indent == 0 && self.marker();
            if !blank && spaces < indent || marker {
                break;
            }
            let text = line.get(indent..).unwrap_or_default();
            lines.push(String::from_utf8_lossy(text).into_owned());
            self.at += length;
            if self.peek().is_some() {
                self.newline();
            } else {
                self.start = self.at;
                // The last line has no break.
                lines.push(String::from("\u{0}"));
            }
        }
        lines
    }
}

/// Joins a folded scalar's next line.
fn fold(text: &mut String, breaks: usize) {
    if breaks == 1 {
        text.push(' ');
    } else {
        text.extend(std::iter::repeat_n('\n', breaks - 1));
    }
}

/// The text of a block's lines; a final `\0` line says that the last had no break.
fn chomped(lines: &[String], folded: bool, chomp: u8) -> String {
    let (lines, unbroken) = match lines.split_last() {
        Some((last, rest)) if last == "\u{0}" => (rest, true),
        _ => (lines, false),
    };
    let end = lines.iter().rposition(|l| !l.is_empty()).map_or(0, |at| at + 1);
    let body = &lines[..end];
    let mut text = if folded { folded_text(body) } else { body.join("\n") };
    let last_unbroken = unbroken && end == lines.len();
    match chomp {
        b'-' => {}
        b'+' => {
            let breaks =
                lines.len() - end + usize::from(end > 0) - usize::from(unbroken && end > 0);
            text.extend(std::iter::repeat_n('\n', breaks));
        }
        _ if end > 0 && !last_unbroken => text.push('\n'),
        _ => {}
    }
    text
}

/// Joins lines with spaces; blank lines are breaks, deeper lines keep theirs.
fn folded_text(lines: &[String]) -> String {
    let deeper = |line: &str| line.starts_with([' ', '\t']);
    let mut text = String::new();
    let mut blanks = 0;
    let mut previous: Option<&str> = None;
    for line in lines {
        if line.is_empty() {
            blanks += 1;
            continue;
        }
        if let Some(previous) = previous {
            let kept = deeper(previous) || deeper(line);
            match (kept, blanks) {
                (true, n) => text.extend(std::iter::repeat_n('\n', n + 1)),
                (false, 0) => text.push(' '),
                (false, n) => text.extend(std::iter::repeat_n('\n', n)),
            }
        } else {
            text.extend(std::iter::repeat_n('\n', blanks));
        }
        text.push_str(line);
        blanks = 0;
        previous = Some(line);
    }
    text
}
