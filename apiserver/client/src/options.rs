//! What can be said along with a verb.

use crate::Error;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded::Serializer;

/// Which objects a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector; empty for all.
    pub label_selector: String,
    /// Field selector; empty for all.
    pub field_selector: String,
    /// Not older than this revision; empty for the newest, `0` for any.
    pub resource_version: String,
    /// At most so many per page; 0 for all.
    pub limit: u32,
    /// Where the next page begins.
    pub continue_token: String,
}

impl ListOptions {
    /// Objects with these labels.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { label_selector: selector.into(), ..Self::default() }
    }

    /// Objects with these fields.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { field_selector: selector.into(), ..Self::default() }
    }

    /// As a query; empty without options.
    pub fn query(&self) -> String {
        let mut query = Serializer::new(String::new());
        let limit = if self.limit == 0 { String::new() } else { self.limit.to_string() };
        let pairs = [
            ("labelSelector", &self.label_selector),
            ("fieldSelector", &self.field_selector),
            ("resourceVersion", &self.resource_version),
            ("limit", &limit),
            ("continue", &self.continue_token),
        ];
        for (name, value) in pairs {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

/// A list, or a page of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "K: serde::de::DeserializeOwned")]
pub struct List<K> {
    /// Revision, next page, how many are left.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "null_is_empty")]
    pub items: Vec<K>,
}

/// Go writes an empty list as null at times.
fn null_is_empty<'de, D, K>(deserializer: D) -> Result<Vec<K>, D::Error>
where
    D: serde::Deserializer<'de>,
    K: serde::de::DeserializeOwned,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl<K> List<K> {
    /// The revision that the list shows.
    pub fn revision(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// Where the next page begins; empty at the end.
    pub fn continue_token(&self) -> &str {
        self.metadata.continue_.as_deref().unwrap_or_default()
    }
}

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// They stay.
    Orphan,
    /// They go later.
    Background,
    /// They go first.
    Foreground,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds to end gracefully; `None` for what the object says.
    pub grace_period_seconds: Option<i64>,
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only at this revision.
    pub resource_version: Option<String>,
    /// What happens to owned objects.
    pub propagation_policy: Option<Propagation>,
}

impl DeleteOptions {
    /// At once, without grace.
    pub fn now() -> Self {
        Self { grace_period_seconds: Some(0), ..Self::default() }
    }

    /// Only the object with this uid.
    pub fn uid(uid: impl Into<String>) -> Self {
        Self { uid: Some(uid.into()), ..Self::default() }
    }

    /// As the body of the request; `None` when nothing is said.
    pub fn body(&self) -> Option<Value> {
        if *self == Self::default() {
            return None;
        }
        let mut body = serde_json::json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(policy) = self.propagation_policy {
            body["propagationPolicy"] = format!("{policy:?}").into();
        }
        if self.uid.is_some() || self.resource_version.is_some() {
            let mut wanted = serde_json::Map::new();
            if let Some(uid) = &self.uid {
                wanted.insert("uid".into(), uid.as_str().into());
            }
            if let Some(revision) = &self.resource_version {
                wanted.insert("resourceVersion".into(), revision.as_str().into());
            }
            body["preconditions"] = wanted.into();
        }
        Some(body)
    }
}

/// A change to part of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 6902: a list of operations.
    Json(Value),
    /// RFC 7386: what is named is replaced.
    Merge(Value),
    /// As merge, but lists with keys are merged by key.
    Strategic(Value),
    /// Server-side apply: what this manager wants the object to say.
    Apply {
        /// The manager's name.
        manager: String,
        /// Take fields that others manage.
        force: bool,
        /// The object, with apiVersion and kind.
        object: Value,
    },
}

impl Patch {
    /// Media type, query and body of the request.
    pub(crate) fn parts(&self) -> (&'static str, String, &Value) {
        match self {
            Self::Json(value) => ("application/json-patch+json", String::new(), value),
            Self::Merge(value) => ("application/merge-patch+json", String::new(), value),
            Self::Strategic(value) => {
                ("application/strategic-merge-patch+json", String::new(), value)
            }
            Self::Apply { manager, force, object } => {
                let mut query = Serializer::new(String::new());
                query.append_pair("fieldManager", manager);
                query.append_pair("force", if *force { "true" } else { "false" });
                ("application/apply-patch+yaml", query.finish(), object)
            }
        }
    }
}

/// JSON of any serializable value.
pub(crate) fn encode(value: &impl Serialize) -> Result<bytes::Bytes, Error> {
    serde_json::to_vec(value).map(Into::into).map_err(|error| Error::Encode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_options_say_only_what_was_asked() {
        assert_eq!(DeleteOptions::default().body(), None);
        let body = DeleteOptions {
            propagation_policy: Some(Propagation::Foreground),
            ..DeleteOptions::uid("u")
        };
        let wanted = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "propagationPolicy": "Foreground", "preconditions": {"uid": "u"},
        });
        assert_eq!(body.body(), Some(wanted));
    }

    #[test]
    fn queries_are_escaped() {
        let options = ListOptions { limit: 5, ..ListOptions::labels("a in (b,c)") };
        assert_eq!(options.query(), "labelSelector=a+in+%28b%2Cc%29&limit=5");
    }
}
