//! The label selector language's grammar, and the rules for one requirement.

use super::{
    Error, Operator, Requirement,
    lexer::{Token, scan},
};
use crate::{meta, status::FieldError};

/// Reads a whole selector; requirements come out sorted by key.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, Error> {
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut out = parser.selector()?;
    out.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(out)
}

/// A requirement, if there can be such a one.
pub(super) fn requirement(
    key: &str,
    operator: Operator,
    mut values: Vec<String>,
) -> Result<Requirement, Error> {
    let mut errors = Vec::new();
    let why = meta::label_key(key);
    if !why.is_empty() {
        errors.push(FieldError::invalid("key", key, &why.join("; ")));
    }
    values.sort();
    values.dedup();
    let mut refuse = |why: &str| {
        errors.push(FieldError::invalid("values", values.clone(), why));
    };
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            refuse("for 'in', 'notin' operators, values set can't be empty");
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            refuse("exact-match compatibility requires one single value");
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            refuse("values set must be empty for exists and does not exist");
        }
        Operator::Greater | Operator::Less if values.len() != 1 => {
            refuse("for 'Gt', 'Lt' operators, exactly one value is required");
        }
        _ => {}
    }
    let numeric = matches!(operator, Operator::Greater | Operator::Less);
    for (at, value) in values.iter().enumerate().filter(|_| numeric) {
        if value.parse::<i64>().is_err() {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            errors.push(FieldError::invalid(&format!("values[{at}]"), value.as_str(), why));
        }
    }
    for (at, value) in values.iter().enumerate() {
        let why = meta::label_value(value);
        if !why.is_empty() {
            let path = format!("values[{at}][{key}]");
            errors.push(FieldError::invalid(&path, value.as_str(), &why.join("; ")));
        }
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(Requirement { key: key.to_owned(), operator, values }),
        [one] => Err(Error(one.clone())),
        many => Err(Error(format!("[{}]", many.join(", ")))),
    }
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next word, where keywords are only keywords if `operator`.
    fn peek(&self, operator: bool) -> (Token, &'a str) {
        let (token, text) = self.tokens[self.at.min(self.tokens.len() - 1)];
        match token {
            Token::In | Token::NotIn if !operator => (Token::Word, text),
            _ => (token, text),
        }
    }

    fn next(&mut self, operator: bool) -> (Token, &'a str) {
        let out = self.peek(operator);
        self.at += 1;
        out
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, Error> {
        let mut out = Vec::new();
        loop {
            match self.peek(false) {
                (Token::Word | Token::Not, _) => {}
                (Token::End, _) => return Ok(out),
                (_, text) => {
                    let why =
                        format!("found '{text}', expected: !, identifier, or 'end of string'");
                    return Err(Error(why));
                }
            }
            let one = self.one();
            out.push(one.map_err(|e| Error(format!("unable to parse requirement: {}", e.0)))?);
            match self.next(false) {
                (Token::End, _) => return Ok(out),
                (Token::Comma, _) => match self.peek(false) {
                    (Token::Word | Token::Not, _) => {}
                    (_, text) => {
                        let why = format!("found '{text}', expected: identifier after ','");
                        return Err(Error(why));
                    }
                },
                (_, text) => {
                    return Err(Error(format!("found '{text}', expected: ',' or 'end of string'")));
                }
            }
        }
    }

    fn one(&mut self) -> Result<Requirement, Error> {
        let (mut token, mut key) = self.next(false);
        let not = token == Token::Not;
        if not {
            (token, key) = self.next(false);
        }
        if token != Token::Word {
            return Err(Error(format!("found '{key}', expected: identifier")));
        }
        let why = meta::label_key(key);
        if !why.is_empty() {
            let error = FieldError::invalid("<nil>", key, &why.join("; "));
            return Err(Error(error.to_string()));
        }
        if not {
            return requirement(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(false).0, Token::End | Token::Comma) {
            return requirement(key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        requirement(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, Error> {
        let (token, text) = self.next(true);
        Ok(match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::Greater,
            Token::Less => Operator::Less,
            _ => {
                let known = "in, notin, =, ==, !=, gt, lt";
                return Err(Error(format!("found '{text}', expected: {known}")));
            }
        })
    }

    fn value(&mut self) -> Result<String, Error> {
        if matches!(self.peek(false).0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next(false) {
            (Token::Word, text) => Ok(text.to_owned()),
            (_, text) => Err(Error(format!("found '{text}', expected: identifier"))),
        }
    }

    /// A list in parentheses; places between commas are empty values.
    fn values(&mut self) -> Result<Vec<String>, Error> {
        let (token, text) = self.next(false);
        if token != Token::Open {
            return Err(Error(format!("found '{text}' expected: '('")));
        }
        match self.peek(false) {
            (Token::Word | Token::Comma, _) => {}
            (Token::Close, _) => {
                self.at += 1;
                return Ok(vec![String::new()]);
            }
            (_, text) => {
                return Err(Error(format!("found '{text}', expected: ',', ')' or identifier")));
            }
        }
        let mut out = Vec::new();
        loop {
            match self.next(false) {
                (Token::Word, text) => {
                    out.push(text.to_owned());
                    match self.peek(false) {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => break,
                        (_, text) => {
                            return Err(Error(format!("found '{text}', expected: ',' or ')'")));
                        }
                    }
                }
                (Token::Comma, _) => {
                    if out.is_empty() {
                        out.push(String::new());
                    }
                    match self.peek(false).0 {
                        Token::Close => {
                            out.push(String::new());
                            break;
                        }
                        Token::Comma => {
                            self.at += 1;
                            out.push(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => {
                    return Err(Error(format!("found '{text}', expected: ',', or identifier")));
                }
            }
        }
        self.at += 1;
        Ok(out)
    }
}
