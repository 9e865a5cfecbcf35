//! YAML as the original's library writes it: keys sorted, lists not indented, texts plain where they stay texts
//! when read again, folded at 80 columns.

use serde_json::Value;

/// Column at which a text is broken, if it has a blank there.
const WIDTH: usize = 80;
/// Plain words that YAML 1.1 takes for something else than text.
const WORDS: [&str; 14] =
    ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf", "<<"];

/// A document.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => array(&mut out, value, 0),
        _ => {
            scalar(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

fn object(out: &mut String, value: &Value, indent: usize) {
    for (at, (key, value)) in value.as_object().into_iter().flatten().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            out.push_str(&" ".repeat(indent));
        }
        text(out, key, indent, false);
        out.push(':');
        below(out, value, indent);
    }
}

fn array(out: &mut String, value: &Value, indent: usize) {
    for (at, value) in value.as_array().into_iter().flatten().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => object(out, value, indent + 2),
            Value::Array(items) if !items.is_empty() => array(out, value, indent + 2),
            _ => {
                scalar(out, value, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// What comes after a key's colon.
fn below(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            object(out, value, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            array(out, value, indent);
        }
        _ => {
            out.push(' ');
            scalar(out, value, indent + 2);
            out.push('\n');
        }
    }
}

fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(string) => text(out, string, indent, true),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

fn text(out: &mut String, text: &str, indent: usize, fold: bool) {
    if text.contains('\n') && fold && !text.starts_with(' ') && !special(text) {
        return literal(out, text, indent);
    }
    if reads_otherwise(text) || special(text) || text.contains('\n') {
        out.push_str(&quoted(text));
    } else if plain(text) {
        folded(out, text, indent, fold);
    } else {
        out.push('\'');
        folded(out, &text.replace('\'', "''"), indent, fold);
        out.push('\'');
    }
}

/// A text of several lines.
fn literal(out: &mut String, text: &str, indent: usize) {
    let trimmed = text.trim_end_matches('\n');
    let ends = text.len() - trimmed.len();
    out.push_str(match ends {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in trimmed.split('\n').chain(std::iter::repeat_n("", ends.saturating_sub(1))) {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent));
            out.push_str(line);
        }
    }
}

/// Writes a text and breaks it at blanks behind the width.
fn folded(out: &mut String, text: &str, indent: usize, fold: bool) {
    let mut column = out.len() - out.rfind('\n').map_or(0, |at| at + 1);
    let chars: Vec<char> = text.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let single = *c == ' '
            && at > 0
            && at + 1 < chars.len()
            && chars[at - 1] != ' '
            && chars[at + 1] != ' ';
        if fold && single && column > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(*c);
            column += 1;
        }
    }
}

/// Characters that only a double-quoted text can hold.
fn special(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{feff}' || c == '\u{2028}')
}

/// Whether the plain text would be read as a number, a time or another word of YAML.
fn reads_otherwise(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let number = || {
        let digits = text.trim_start_matches(['+', '-']);
        digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && (digits.parse::<f64>().is_ok()
                || digits.replace('_', "").parse::<i64>().is_ok()
                || ["0x", "0o", "0b"].iter().any(|base| lower.starts_with(base)))
    };
    let time = || {
        let bytes = text.as_bytes();
        bytes.len() >= 8
            && bytes[..4].iter().all(u8::is_ascii_digit)
            && bytes[4] == b'-'
            && bytes[5..].iter().all(|b| b.is_ascii_digit() || b"-:TtZz. +".contains(b))
    };
    WORDS.contains(&lower.as_str()) || number() || time()
}

/// Whether a text needs no quotes.
fn plain(text: &str) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    let dash = text.len() > 1 && !text[1..].starts_with(' ');
    let begins = match first {
        '-' | '?' | ':' => dash,
        c => !" ,[]{}#&*!|>'\"%@`".contains(c),
    };
    begins
        && !text.ends_with(' ')
        && !text.ends_with(':')
        && !text.contains(": ")
        && !text.contains(" #")
        && !matches!(text, "-" | "---" | "...")
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_quoted_only_where_they_must_be() {
        let value = json!({"a": "b", "n": "1", "t": "2026-01-02T03:04:05Z", "e": "", "l": [{"x": "y: z"}],
            "m": {}, "w": "yes"});
        let wanted = "a: b\ne: \"\"\nl:\n- x: 'y: z'\nm: {}\n\"n\": \"1\"\nt: \"2026-01-02T03:04:05Z\"\nw: \"yes\"\n";
        assert_eq!(write(&value), wanted);
    }
}
