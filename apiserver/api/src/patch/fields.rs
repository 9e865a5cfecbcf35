//! Sets of field paths, the currency of server-side apply, and their `FieldsV1` form.
//!
//! A path is a list of elements: a field of an object, an item of an associative list by its keys,
//! an item of a set by its value, or an index. A set holds paths as a tree. An element of the tree
//! is a member (the path that ends there belongs to the set), has children, or both:
//!
//! `{"f:data": {".": {}, "f:k": {}}}` holds `.data` and `.data.k`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::go;

/// One step of a path. The order is that in which conflicts are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of an object.
    Field(String),
    /// An item of an associative list; keys are sorted.
    Key(Vec<(String, Literal)>),
    /// An item of a set.
    Value(Literal),
    /// An item by its place.
    Index(i64),
}

/// A value within a path, with an order of its own: 1 and 1.0 are one.
#[derive(Clone, Debug)]
pub struct Literal(pub Value);

/// A path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Element>);

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(BTreeMap<Element, Node>);

/// What a set knows of one element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The path that ends here belongs to the set.
    pub member: bool,
    /// Longer paths.
    pub children: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl Set {
    /// Whether there is no path in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a path. The empty path is ignored.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.0.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.children.insert(rest);
        }
    }

    /// Adds the path of fields with these names.
    pub fn insert_fields(&mut self, names: &[&str]) {
        let path: Vec<Element> =
            names.iter().map(|name| Element::Field((*name).to_owned())).collect();
        self.insert(&path);
    }

    /// Whether the path of this one element belongs to it.
    pub fn has(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// What comes after an element.
    pub fn child(&self, element: &Element) -> Option<&Set> {
        self.0.get(element).map(|node| &node.children).filter(|set| !set.is_empty())
    }

    /// Elements with what is known of them, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (&Element, &Node)> {
        self.0.iter()
    }

    /// Takes a prepared element in; empty ones are left out.
    pub fn put(&mut self, element: Element, node: Node) {
        if !node.is_empty() {
            self.0.insert(element, node);
        }
    }

    /// Paths of either.
    #[must_use]
    pub fn union(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.extend(other);
        out
    }

    fn extend(&mut self, other: &Set) {
        for (element, node) in &other.0 {
            let own = self.0.entry(element.clone()).or_default();
            own.member |= node.member;
            own.children.extend(&node.children);
        }
    }

    /// Paths of both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set::default();
        for (element, node) in &self.0 {
            if let Some(theirs) = other.0.get(element) {
                let member = node.member && theirs.member;
                let children = node.children.intersection(&theirs.children);
                out.put(element.clone(), Node { member, children });
            }
        }
        out
    }

    /// Paths that the other does not have.
    #[must_use]
    pub fn difference(&self, other: &Set) -> Set {
        let mut out = Set::default();
        for (element, node) in &self.0 {
            let node = match other.0.get(element) {
                None => node.clone(),
                Some(theirs) => Node {
                    member: node.member && !theirs.member,
                    children: node.children.difference(&theirs.children),
                },
            };
            out.put(element.clone(), node);
        }
        out
    }

    /// Paths that neither are in the other nor lie below one that is.
    #[must_use]
    pub fn without_below(&self, other: &Set) -> Set {
        let mut out = Set::default();
        for (element, node) in &self.0 {
            let node = match other.0.get(element) {
                None => node.clone(),
                Some(theirs) if theirs.member => continue,
                Some(theirs) => Node {
                    member: node.member,
                    children: node.children.without_below(&theirs.children),
                },
            };
            out.put(element.clone(), node);
        }
        out
    }

    /// All paths: those of a level before longer ones.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect(&mut Path::default(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Path, out: &mut Vec<Path>) {
        for (element, _) in self.0.iter().filter(|(_, node)| node.member) {
            let mut path = prefix.clone();
            path.0.push(element.clone());
            out.push(path);
        }
        for (element, node) in &self.0 {
            prefix.0.push(element.clone());
            node.children.collect(prefix, out);
            prefix.0.pop();
        }
    }

    /// As `FieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (element, node) in &self.0 {
            let mut value = node.children.to_value();
            if node.member
                && !node.children.is_empty()
                && let Some(value) = value.as_object_mut()
            {
                value.insert(".".to_owned(), json!({}));
            }
            map.insert(element.encode(), value);
        }
        Value::Object(map)
    }

    /// From `FieldsV1`; `None` when it is none.
    pub fn from_value(value: &Value) -> Option<Set> {
        let mut out = Set::default();
        for (key, value) in value.as_object()? {
            if key == "." {
                continue;
            }
            let children = Set::from_value(value)?;
            let itself = value.as_object().is_some_and(|map| map.contains_key("."));
            let member = itself || children.is_empty();
            out.put(Element::decode(key)?, Node { member, children });
        }
        Some(out)
    }
}

impl Element {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let map: Map<String, Value> =
                    keys.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Value(value) => format!("v:{}", value.0),
            Self::Index(at) => format!("i:{at}"),
        }
    }

    fn decode(text: &str) -> Option<Element> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "i" => rest.parse().ok().map(Self::Index),
            "v" => serde_json::from_str(rest).ok().map(|v| Self::Value(Literal(v))),
            "k" => {
                let map: Map<String, Value> = serde_json::from_str(rest).ok()?;
                let mut keys: Vec<(String, Literal)> =
                    map.into_iter().map(|(key, value)| (key, Literal(value))).collect();
                keys.sort();
                Some(Self::Key(keys))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> =
                    keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(at) => write!(f, "[{at}]"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "{element}"))
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) => f.write_str(&go::quote(text)),
            other => write!(f, "{other}"),
        }
    }
}

impl Literal {
    fn rank(&self) -> u8 {
        match &self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Literal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
            },
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Null, Value::Null) => Ordering::Equal,
            (a, b) => {
                self.rank().cmp(&other.rank()).then_with(|| a.to_string().cmp(&b.to_string()))
            }
        }
    }
}

impl PartialOrd for Literal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Literal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_v1_survives_a_round_trip() {
        let container = json!({"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}});
        let value = json!({"f:spec": {"f:containers": container,
            "f:tags": {"v:1": {}, "v:\"a\"": {}}}, "f:data": {".": {}, "f:k": {}}});
        let set = Set::from_value(&value).expect("a set");
        assert_eq!(set.to_value(), value);
        let paths: Vec<String> = set.paths().iter().map(Path::to_string).collect();
        assert_eq!(
            paths,
            [
                ".data",
                ".data.k",
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image",
                ".spec.tags[=1]",
                ".spec.tags[=\"a\"]",
            ]
        );
        assert!(Set::from_value(&json!({"x": {}})).is_none());
    }

    #[test]
    fn sets_subtract_path_by_path_or_whole_branches() {
        let all = Set::from_value(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}})).expect("a set");
        let a = Set::from_value(&json!({"f:a": {}})).expect("a set");
        assert_eq!(all.difference(&a).to_value(), json!({"f:a": {"f:b": {}}, "f:c": {}}));
        assert_eq!(all.without_below(&a).to_value(), json!({"f:c": {}}));
        assert_eq!(all.intersection(&a).to_value(), json!({"f:a": {}}));
    }
}
