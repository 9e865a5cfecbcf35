//! Words and signs of the label selector language.

/// What kind of word it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A key, a value, or a keyword where one can't be.
    Word,
    /// `in`
    In,
    /// `notin`
    NotIn,
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`
    NotEquals,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `!`
    Not,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// Nothing is left.
    End,
}

const SIGNS: [(&str, Token); 9] = [
    ("==", Token::DoubleEquals),
    ("!=", Token::NotEquals),
    ("=", Token::Equals),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    (",", Token::Comma),
    (">", Token::Greater),
    ("<", Token::Less),
];

fn is_sign(c: char) -> bool {
    "=!(),<>".contains(c)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// All words of a text, with an end.
pub(super) fn scan(text: &str) -> Vec<(Token, &str)> {
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(c) = rest.chars().next() {
        let (token, length) = if is_sign(c) {
            let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
            let (sign, token) = sign.expect("every sign is in the table");
            (*token, sign.len())
        } else {
            let length = rest.find(|c| is_sign(c) || is_space(c)).unwrap_or(rest.len());
            let token = match &rest[..length] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Word,
            };
            (token, length)
        };
        out.push((token, &rest[..length]));
        rest = rest[length..].trim_start_matches(is_space);
    }
    out.push((Token::End, ""));
    out
}
