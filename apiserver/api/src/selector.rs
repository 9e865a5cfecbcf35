//! Selectors: which objects are meant, by their labels or by fields of theirs.
//!
//! [`Labels`] is the set-based language (`a=b,c in (d,e),!f`), [`Fields`] the smaller one of field
//! selectors. Both are parsed with the original's complaints. A `LabelSelector` document (as in
//! `spec.selector`) compiles into [`Labels`] too.

mod fields;
mod lexer;
mod parse;

pub use self::fields::Fields;

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

/// Why a selector can't be read, in the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

/// A compiled label selector: all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    requirements: Vec<Requirement>,
    /// Matches nothing at all, unlike one without requirements.
    nothing: bool,
}

/// One condition about one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// Values that it is about, sorted.
    pub values: Vec<String>,
}

/// What must hold for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of those.
    In,
    /// The label is missing, or its value is none of those.
    NotIn,
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`
    NotEquals,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The value is a number above.
    Greater,
    /// The value is a number below.
    Less,
}

impl Labels {
    /// Reads the set-based language; an empty text selects everything.
    pub fn parse(text: &str) -> Result<Labels, Error> {
        Ok(Labels { requirements: parse::parse(text)?, nothing: false })
    }

    /// Selects everything.
    pub fn everything() -> Labels {
        Labels::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Labels {
        Labels { requirements: Vec::new(), nothing: true }
    }

    /// Compiles a `LabelSelector` document: null selects nothing, an empty one everything.
    pub fn from_selector(selector: &Value) -> Result<Labels, Error> {
        let Value::Object(selector) = selector else { return Ok(Labels::nothing()) };
        let mut requirements = Vec::new();
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        for (key, value) in labels.into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(parse::requirement(key, Operator::Equals, values)?);
        }
        let rules = selector.get("matchExpressions").and_then(Value::as_array);
        for rule in rules.into_iter().flatten() {
            let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let why = format!("{other:?} is not a valid label selector operator");
                    return Err(Error(why));
                }
            };
            let values = rule.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(parse::requirement(text("key"), operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Labels { requirements, nothing: false })
    }

    /// Selects by equality with all of a map, as a Service's selector does.
    pub fn from_map<'a>(map: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let requirements = map.into_iter().map(|(key, value)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: vec![value.to_owned()],
        });
        Labels { requirements: requirements.collect(), nothing: false }
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether the labels of a document (`metadata.labels`, or null) are selected.
    pub fn matches_value(&self, labels: Option<&Value>) -> bool {
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    /// Whether labels that are looked up one by one are selected.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }
}

impl Requirement {
    /// Whether a label's value (`None`: it is missing) is as wanted.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let number = |text: &str| text.parse::<i64>().ok();
        let limit = || self.values.first().and_then(|text| number(text));
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Greater => {
                value.and_then(number).zip(limit()).is_some_and(|(value, limit)| value > limit)
            }
            Operator::Less => {
                value.and_then(number).zip(limit()).is_some_and(|(value, limit)| value < limit)
            }
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = self.values.join(",");
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Greater => write!(f, "{key}>{values}"),
            Operator::Less => write!(f, "{key}<{values}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels() -> BTreeMap<String, String> {
        [("a", "b"), ("n", "5"), ("e", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn conditions_hold_or_not() {
        for (text, want) in [
            ("", true),
            ("a=b", true),
            ("a==b", true),
            ("a!=b", false),
            ("x!=b", true),
            ("a in (b,c)", true),
            ("a notin (c)", true),
            ("x notin (c)", true),
            ("x in (c)", false),
            ("a", true),
            ("!a", false),
            ("!x", true),
            ("n>4", true),
            ("n<4", false),
            ("e=", true),
            ("a=b,n>4", true),
            (" a = b , !x ", true),
            ("a in ()", false),
            ("e in (,)", true),
            ("in in (in)", false),
            ("x>1", false),
        ] {
            assert_eq!(Labels::parse(text).map(|l| l.matches(&labels())), Ok(want), "{text}");
        }
    }

    #[test]
    fn complaints_have_the_originals_words() {
        for (text, want) in [
            ("a=b,", "found '', expected: identifier after ','"),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            (
                "a b c",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in", "unable to parse requirement: found '' expected: '('"),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' \
                 operators, the value must be an integer",
            ),
        ] {
            let error = Labels::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_document_compiles_and_prints() {
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "n", "operator": "Exists"}, {"key": "x", "operator": "NotIn", "values": ["z", "y"]}]});
        let compiled = Labels::from_selector(&selector).expect("a selector");
        assert!(compiled.matches(&labels()));
        assert_eq!(compiled.to_string(), "a=b,n,x notin (y,z)");
        assert!(!Labels::nothing().matches(&labels()));
        assert!(Labels::from_selector(&json!({})).expect("empty").matches(&labels()));
    }
}
