//! What a scalar's text means in YAML 1.1.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::super::json::Doc;

/// The meaning of a plain scalar, under its tag if it has one.
pub(super) fn typed(tag: &Option<String>, text: &str) -> Result<Doc<'static>, String> {
    match tag.as_deref() {
        Some("!str" | "") => Ok(Doc::Str(text.to_owned().into())),
        Some("!binary") => binary(text),
        Some("!float") => Ok(match plain(text) {
            Doc::Num(n) => Doc::Num(n),
            _ => Doc::Str(text.to_owned().into()),
        }),
        _ => Ok(plain(text)),
    }
}

/// The meaning of a quoted or block scalar: its text, unless a tag says otherwise.
pub(super) fn quoted(tag: &Option<String>, text: String) -> Result<Doc<'static>, String> {
    match tag.as_deref() {
        Some("!binary") => binary(&text),
        Some("!int" | "!float" | "!bool" | "!null") => Ok(plain(&text)),
        _ => Ok(Doc::Str(text.into())),
    }
}

fn binary(text: &str) -> Result<Doc<'static>, String> {
    let clean: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    match STANDARD.decode(clean) {
        Ok(bytes) => Ok(Doc::Str(String::from_utf8_lossy(&bytes).into_owned().into())),
        Err(_) => Err("!!binary value contains invalid base64 data".to_owned()),
    }
}

fn plain(text: &str) -> Doc<'static> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Doc::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Doc::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Doc::Bool(false)
        }
        _ => number(text).unwrap_or_else(|| Doc::Str(text.to_owned().into())),
    }
}

fn number(text: &str) -> Option<Doc<'static>> {
    let first = *text.as_bytes().first()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let clean: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(n) = integer(&clean) {
        return Some(Doc::Num(n.into()));
    }
    let decimal = clean.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && clean.bytes().any(|b| b.is_ascii_digit());
    if !decimal {
        return None;
    }
    let f: f64 = clean.parse().ok()?;
    if f.fract() == 0.0 && f.abs() < 1e21 {
        return Some(Doc::Num(format!("{f:.0}").into()));
    }
    Some(Doc::Num(f.to_string().into()))
}

/// Decimal text of an integer in any of YAML 1.1's bases.
fn integer(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let n = u64::from_str_radix(digits, radix).ok()?;
    if sign == "-" && n > 1 << 63 {
        return None;
    }
    Some(if n == 0 { "0".to_owned() } else { format!("{sign}{n}") })
}
