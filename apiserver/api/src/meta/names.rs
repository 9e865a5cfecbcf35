//! The forms of names, keys and values, each with the original's complaints.
//!
//! A check gives the complaints about one text. Upstream measures object names in "characters" and
//! label keys in "bytes": the wording differs, the limit does not.

/// Longest DNS label.
const LABEL: usize = 63;
/// Longest DNS subdomain.
const SUBDOMAIN: usize = 253;

fn too_long(most: usize, unit: &str) -> String {
    format!("must be no more than {most} {unit}")
}

/// A complaint about a form, with examples and the expression.
fn form(what: &str, examples: &[&str], expression: &str) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    let examples = examples.join(" or ");
    format!("{what} (e.g. {examples}regex used for validation is '{expression}')")
}

/// Whether a text is made of `inner` bytes and begins and ends with `outer` ones.
fn framed(text: &str, first: fn(u8) -> bool, inner: fn(u8) -> bool, last: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(a), Some(z)) = (bytes.first(), bytes.last()) else { return false };
    first(*a) && last(*z) && bytes.iter().all(|byte| inner(*byte))
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn lower_dash(byte: u8) -> bool {
    lower(byte) || byte == b'-'
}

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: u8) -> bool {
    alnum(byte) || matches!(byte, b'-' | b'_' | b'.')
}

/// A DNS label as RFC 1123 has it.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL {
        out.push(too_long(LABEL, "characters"));
    }
    if !framed(text, lower, lower_dash, lower) {
        let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
                    or '-', and must start and end with an alphanumeric character";
        let subdomain = is_subdomain(text);
        // Upstream tells a label that is a fine subdomain apart.
        if subdomain {
            out.push("must not contain dots".to_owned());
        } else {
            let expression = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
            out.push(form(what, &["my-name", "123-abc"], expression));
        }
    }
    out
}

/// A DNS label as RFC 1035 has it: it begins with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL {
        out.push(too_long(LABEL, "characters"));
    }
    if !framed(text, |byte| byte.is_ascii_lowercase(), lower_dash, lower) {
        let what = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
                    start with an alphabetic character, and end with an alphanumeric character";
        out.push(form(what, &["my-name", "abc-123"], "[a-z]([-a-z0-9]*[a-z0-9])?"));
    }
    out
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| framed(label, lower, lower_dash, lower))
}

/// A DNS subdomain: labels with dots between.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    subdomain(text, "characters")
}

fn subdomain(text: &str, unit: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > SUBDOMAIN {
        out.push(too_long(SUBDOMAIN, unit));
    }
    if !is_subdomain(text) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                    characters, '-' or '.', and must start and end with an alphanumeric character";
        let expression = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
        out.push(form(what, &["example.com"], expression));
    }
    out
}

/// The key of a label or annotation, a finalizer, a resource: a name with an optional prefix.
pub fn label_key(text: &str) -> Vec<String> {
    qualified_name(text)
}

/// A name of up to 63 bytes, with an optional DNS subdomain and a slash before it.
pub fn qualified_name(text: &str) -> Vec<String> {
    let what = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                with an alphanumeric character";
    let expression = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let shape = form(what, &["MyName", "my.name", "123-abc"], expression);
    let parts: Vec<&str> = text.split('/').collect();
    let mut out = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(
                    subdomain(prefix, "bytes").iter().map(|why| format!("prefix part {why}")),
                );
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {shape} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL {
        out.push(format!("name part {}", too_long(LABEL, "bytes")));
    }
    if !framed(name, alnum, word, alnum) {
        out.push(format!("name part {shape}"));
    }
    out
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > LABEL {
        out.push(too_long(LABEL, "bytes"));
    }
    if !text.is_empty() && !framed(text, alnum, word, alnum) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, \
                    '-', '_' or '.', and must start and end with an alphanumeric character";
        let expression = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
        out.push(form(what, &["MyValue", "my_value", "12345"], expression));
    }
    out
}

/// A name that is one segment of a URL path and otherwise free.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    let held = ["/", "%"].into_iter().filter(|part| text.contains(part));
    held.map(|part| format!("may not contain '{part}'")).collect()
}

/// A key of a ConfigMap or Secret: the name of a file.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > SUBDOMAIN {
        out.push(too_long(SUBDOMAIN, "characters"));
    }
    if text.is_empty() || !text.bytes().all(word) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        out.push(form(what, &["key.name", "KEY_NAME", "key-name"], "[-._a-zA-Z0-9]+"));
    }
    match text {
        "." => out.push("must not be '.'".to_owned()),
        ".." => out.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        return Vec::new();
    }
    let why = "a valid environment variable name must consist only of printable ASCII characters \
               other than '='";
    vec![why.to_owned()]
}

/// The name of a port, as IANA has service names.
pub fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 15 {
        out.push(too_long(15, "characters"));
    }
    if text.is_empty() || !text.bytes().all(lower_dash) {
        let why = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        out.push(why.to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// What a check says about `prefix`, the form that `generateName` has: it may end with a dash.
pub fn prefixed(check: fn(&str) -> Vec<String>, prefix: &str) -> Vec<String> {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => check(&format!("{rest}a")),
        _ => check(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_have_no_complaints() {
        for name in ["a", "a-b", "1", "a.b-c.d"] {
            assert!(dns1123_subdomain(name).is_empty(), "{name}");
        }
        assert!(dns1123_label("a-1").is_empty() && !dns1123_label("-a").is_empty());
        assert!(dns1035_label("a-1").is_empty() && !dns1035_label("1a").is_empty());
        assert!(qualified_name("example.com/My.Name_1").is_empty());
        assert!(label_value("").is_empty() && !label_value("a b").is_empty());
        assert!(prefixed(dns1123_subdomain, "web-").is_empty());
        assert!(config_map_key("a_B.c").is_empty() && port_name("http-1").is_empty());
    }

    #[test]
    fn complaints_have_the_originals_words() {
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(path_segment("a/b%"), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(qualified_name(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
        assert_eq!(
            label_value("@"),
            ["a valid label must be an empty string or consist of alphanumeric characters, '-', \
              '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  \
              or 'my_value',  or '12345', regex used for validation is \
              '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"]
        );
    }
}
