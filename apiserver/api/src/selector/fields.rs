//! Field selectors: `path=value`, `path==value`, `path!=value`, joined by commas; a backslash
//! takes the meaning from a comma, an equals sign or a backslash in a value.

use std::fmt;

use super::Error;

/// A compiled field selector: all terms must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    path: String,
    value: String,
    equal: bool,
}

impl Fields {
    /// Reads a field selector; an empty text selects everything.
    pub fn parse(text: &str) -> Result<Fields, Error> {
        let mut terms = Vec::new();
        for term in split(text) {
            if term.is_empty() {
                continue;
            }
            let Some((path, sign, value)) = halves(term) else {
                let why = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(Error(why));
            };
            let value = unescape(value)?;
            terms.push(Term { path: path.to_owned(), value, equal: sign != "!=" });
        }
        Ok(Fields { terms })
    }

    /// Selects objects with one value at one path.
    pub fn equal(path: &str, value: &str) -> Fields {
        let term = Term { path: path.to_owned(), value: value.to_owned(), equal: true };
        Fields { terms: vec![term] }
    }

    /// The paths that it looks at.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.path.as_str())
    }

    /// The value that a path must have, if there is exactly one.
    pub fn exact(&self, path: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.equal && term.path == path)?;
        Some(&term.value)
    }

    /// Whether an object is selected; `get` gives the value at a path, empty for none.
    pub fn matches(&self, get: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|term| (get(&term.path) == term.value) == term.equal)
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            let sign = if term.equal { "=" } else { "!=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{}{sign}{value}", term.path)?;
        }
        Ok(())
    }
}

/// The terms of a text: cut at commas without a backslash before them.
fn split(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

/// Path, sign and value of a term: cut at the first sign.
fn halves(term: &str) -> Option<(&str, &str, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let rest = &term[at..];
        let sign = ["!=", "==", "="].into_iter().find(|sign| rest.starts_with(sign))?;
        Some((&term[..at], sign, &rest[sign.len()..]))
    })
}

fn unescape(text: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        match c {
            '\\' | ',' | '=' if escaped => {
                out.push(c);
                escaped = false;
            }
            _ if escaped => {
                return Err(Error(format!(
                    "invalid field selector: invalid escape sequence: \\{c}"
                )));
            }
            '\\' => escaped = true,
            ',' | '=' => {
                let why = format!("unescaped character in value: {}", u32::from(c));
                return Err(Error(format!("invalid field selector: {why}")));
            }
            c => out.push(c),
        }
    }
    if escaped {
        return Err(Error("invalid field selector: invalid escape sequence: \\".to_owned()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_hold_or_not() {
        let fields = Fields::parse(r"metadata.name=a\,b,spec.x!=c").expect("a selector");
        assert_eq!(fields.paths().collect::<Vec<_>>(), ["metadata.name", "spec.x"]);
        assert_eq!(fields.exact("metadata.name"), Some("a,b"));
        assert!(fields.matches(|path| if path == "spec.x" { "d" } else { "a,b" }.to_owned()));
        assert!(!fields.matches(|_| "c".to_owned()));
        assert_eq!(fields.to_string(), r"metadata.name=a\,b,spec.x!=c");
    }

    #[test]
    fn complaints_have_the_originals_words() {
        for (text, want) in [
            (
                "metadata.name",
                "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
            ),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ] {
            assert_eq!(Fields::parse(text).expect_err(text).to_string(), want);
        }
    }
}
