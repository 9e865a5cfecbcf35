//! Where a list page ended, as a text that the client brings back. Bound to a revision and a key, and to
//! nothing else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// The only version of the token.
const VERSION: &str = "meta.k8s.io/v1";

/// The token's JSON.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

/// The token for a list that goes on at `start` (below the list's prefix) as of `revision`; −1 is "as of then".
pub fn encode(start: &str, revision: i64) -> String {
    let token = Token { v: VERSION.to_owned(), rv: revision, start: start.to_owned() };
    let json = serde_json::to_vec(&token).expect("a token can always be written");
    URL_SAFE_NO_PAD.encode(json)
}

/// Reads a token: the key to go on at, below the list's prefix, and the revision.
pub fn decode(token: &str) -> Result<(String, i64), String> {
    let invalid = |why: String| format!("invalid continue token: continue key is not valid: {why}");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => token.len() / 4 * 4,
        };
        invalid(format!("illegal base64 data at input byte {at}"))
    })?;
    let token: Token =
        serde_json::from_slice(&bytes).map_err(|_| invalid(json_complaint(&bytes)))?;
    if token.v != VERSION {
        let text = format!("server does not recognize this encoded version {}", token.v);
        return Err(invalid(text));
    }
    if token.start.is_empty() {
        return Err(invalid(format!("encoded start key empty (version {VERSION})")));
    }
    if token.rv == 0 {
        let text = format!("incorrect encoded start resourceVersion (version {VERSION})");
        return Err(invalid(text));
    }
    let parts: Vec<&str> = token.start.trim_start_matches('/').split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Err(invalid(token.start));
    }
    Ok((parts.join("/"), token.rv))
}

/// What the original says about text that is no JSON object.
fn json_complaint(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    for literal in ["null", "true", "false"] {
        let first = &literal[..1];
        if text.starts_with(first) {
            let differs = text.chars().zip(literal.chars()).find(|(got, wanted)| got != wanted);
            return differs.map_or("unexpected end of JSON input".into(), |(got, wanted)| {
                format!("invalid character '{got}' in literal {literal} (expecting '{wanted}')")
            });
        }
    }
    // A byte stands for the character of its number.
    match bytes.first() {
        None => "unexpected end of JSON input".into(),
        Some(first) if !matches!(first, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9') => {
            let shown = match first {
                0x80..=0xa0 | 0xad => format!("\\u{first:04x}"),
                0..0x20 | 0x7f => format!("\\x{first:02x}"),
                _ => char::from(*first).to_string(),
            };
            format!("invalid character '{shown}' looking for beginning of value")
        }
        Some(_) => "unexpected end of JSON input".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        let token = encode("ns/a\0", 42);
        assert_eq!(decode(&token), Ok(("ns/a\0".to_owned(), 42)));
    }

    #[test]
    fn a_bad_token_says_what_is_wrong() {
        let start = "invalid continue token: continue key is not valid: ";
        let cases = [
            ("abc", "invalid character 'i' looking for beginning of value"),
            ("junk", "invalid character '\\u008e' looking for beginning of value"),
            ("@@@", "illegal base64 data at input byte 0"),
            ("e30", "server does not recognize this encoded version "),
            ("bm90IGpzb24", "invalid character 'o' in literal null (expecting 'u')"),
            ("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiIuLi9hIn0", "../a"),
        ];
        for (token, text) in cases {
            assert_eq!(decode(token), Err(format!("{start}{text}")), "{token}");
        }
    }
}
