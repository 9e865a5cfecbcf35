//! One object on its way into a row: short ways to its fields, and the forms that cells have.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::selector::Labels;

/// What a cell shows where there is nothing.
pub(super) const NONE: &str = "<none>";
/// What a cell shows where nothing was set.
pub(super) const UNSET: &str = "<unset>";
/// What a cell shows where nothing is known.
pub(super) const UNKNOWN: &str = "<unknown>";

/// An object and the time.
pub(super) struct Row<'a> {
    /// The object.
    pub(super) object: &'a Value,
    /// Now.
    pub(super) now: Timestamp,
}

impl<'a> Row<'a> {
    /// What is at a path.
    pub(super) fn get(&self, path: &str) -> Option<&'a Value> {
        self.object.pointer(path).filter(|value| !value.is_null())
    }

    /// The text at a path; empty when there is none.
    pub(super) fn text(&self, path: &str) -> &'a str {
        text(self.object, path)
    }

    /// The text at a path, or what stands for none.
    pub(super) fn text_or(&self, path: &str, none: &'a str) -> &'a str {
        match self.text(path) {
            "" => none,
            text => text,
        }
    }

    /// The integer at a path, zero when there is none.
    pub(super) fn int(&self, path: &str) -> i64 {
        self.get(path).and_then(Value::as_i64).unwrap_or(0)
    }

    /// The boolean at a path, false when there is none.
    pub(super) fn flag(&self, path: &str) -> bool {
        self.get(path).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The list at a path; empty when there is none.
    pub(super) fn list(&self, path: &str) -> &'a [Value] {
        list(self.object, path)
    }

    /// The map at a path.
    pub(super) fn map(&self, path: &str) -> Option<&'a Map<String, Value>> {
        self.get(path).and_then(Value::as_object)
    }

    /// How many entries a map or list has.
    pub(super) fn count(&self, path: &str) -> usize {
        match self.get(path) {
            Some(Value::Object(map)) => map.len(),
            Some(Value::Array(items)) => items.len(),
            _ => 0,
        }
    }

    /// The name.
    pub(super) fn name(&self) -> Value {
        self.text("/metadata/name").into()
    }

    /// Time since the creation.
    pub(super) fn age(&self) -> Value {
        self.since("/metadata/creationTimestamp").into()
    }

    /// Whether it is being deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.get("/metadata/deletionTimestamp").is_some()
    }

    /// Time since the moment at a path.
    pub(super) fn since(&self, path: &str) -> String {
        self.since_text(self.text(path))
    }

    /// Time since a moment.
    pub(super) fn since_text(&self, moment: &str) -> String {
        match moment.parse::<Timestamp>() {
            Ok(moment) => human_duration(self.now.duration_since(moment).as_secs()),
            Err(_) => UNKNOWN.to_owned(),
        }
    }

    /// Names and images of the containers of a Pod's spec at a path.
    pub(super) fn containers(&self, path: &str) -> [Value; 2] {
        let containers = self.list(&format!("{path}/containers"));
        let join = |key: &str| {
            let texts: Vec<&str> = containers.iter().map(|c| text(c, key)).collect();
            Value::from(texts.join(","))
        };
        [join("/name"), join("/image")]
    }

    /// A map of labels, or what stands for none.
    pub(super) fn labels(&self, path: &str) -> String {
        let labels = self.map(path).into_iter().flatten();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        if labels.is_empty() { NONE.to_owned() } else { labels.join(",") }
    }

    /// A label selector; empty when it selects everything.
    pub(super) fn selector(&self, path: &str) -> String {
        let selector = self.get(path).map(Labels::from_selector);
        selector.and_then(Result::ok).map(|labels| labels.to_string()).unwrap_or_default()
    }

    /// A label selector, or what stands for none.
    pub(super) fn selector_or_none(&self, path: &str) -> String {
        let text = self.selector(path);
        if text.is_empty() { NONE.to_owned() } else { text }
    }

    /// Whether a condition of this type is true.
    pub(super) fn is_true(&self, condition: &str) -> bool {
        self.condition(condition) == Some("True")
    }

    /// The status of a condition.
    pub(super) fn condition(&self, kind: &str) -> Option<&'a str> {
        let mut conditions = self.list("/status/conditions").iter();
        let condition = conditions.find(|condition| text(condition, "/type") == kind);
        condition.map(|condition| text(condition, "/status"))
    }
}

/// The text at a path; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a path; empty when there is none.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A number or a string, as it is written.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first of many, and how many more there are.
pub(super) fn few(mut all: Vec<String>, most: usize, separator: &str) -> String {
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    let text = all.join(separator);
    if more > 0 { format!("{text} + {more} more...") } else { text }
}

/// A duration in at most two units, coarser the longer it is.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |a: i64, unit: &str, b: i64, small: &str| match b {
        0 => format!("{a}{unit}"),
        b => format!("{a}{unit}{b}{small}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}
