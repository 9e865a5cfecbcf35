//! Status: how the API says that something went wrong, or that it went well without an object.
//!
//! A validation problem is a [`FieldError`]; any number of them make one `Invalid` Status whose
//! message and causes have the original's wording. Everything else is a code, a reason, a message
//! and sometimes details about the object that it concerns.

mod field;

pub use self::field::{Bad, FieldError, Kind, ordered, quoted};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// An answer that is no object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason; empty for what has none.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// What it concerns.
    pub details: Option<Details>,
    /// `continue` of the metadata: how to go on with an expired list.
    pub continue_token: String,
}

/// What a Status concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its kind, or its resource's plural name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Each single problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds after which another attempt may succeed.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One problem of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Machine-readable reason.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Text for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Status {
    /// A failure with a code, a reason (empty for none) and a message.
    ///
    /// Codes that stand for a client's mistake with a path or verb carry empty details.
    pub fn new(code: u16, reason: &str, message: &str) -> Status {
        let detailed = matches!(code, 401 | 403 | 404 | 405 | 406 | 409 | 422 | 429 | 504);
        Status {
            code,
            reason: reason.to_owned(),
            message: message.to_owned(),
            details: detailed.then(Details::default),
            continue_token: String::new(),
        }
    }

    /// 400 with a text.
    pub fn bad_request(message: &str) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 500 with what went wrong.
    pub fn internal(why: &str) -> Status {
        let message = format!("Internal error occurred: {why}");
        let mut status = Status::new(500, "InternalError", &message);
        status.add_cause("", why, "");
        status
    }

    /// 404 for a named object of a resource.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Status {
        let message = format!("{} {name:?} not found", qualified(plural, group));
        Status::new(404, "NotFound", &message).about(group, plural, name)
    }

    /// 409: the name is taken.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Status {
        let message = format!("{} {name:?} already exists", qualified(plural, group));
        Status::new(409, "AlreadyExists", &message).about(group, plural, name)
    }

    /// 409: the object is not as the request takes it to be.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let resource = qualified(plural, group);
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Status::new(409, "Conflict", &message).about(group, plural, name)
    }

    /// 403 with the reason of a policy.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let resource = qualified(plural, group);
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {name:?} is forbidden: {why}"),
        };
        Status::new(403, "Forbidden", &message).about(group, plural, name)
    }

    /// 422 with all that is wrong with an object of a kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Status {
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for error in &errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let what = match texts.as_slice() {
            [] => String::new(),
            [one] => format!(": {one}"),
            many => format!(": [{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid{what}", qualified(kind, group));
        let mut status = Status::new(422, "Invalid", &message).about(group, kind, name);
        for error in &errors {
            status.add_cause(error.kind.reason(), &error.body(), &error.field);
        }
        status
    }

    /// 429: too busy, or not now.
    pub fn too_many_requests(message: &str, retry_after: u32) -> Status {
        let mut status = Status::new(429, "TooManyRequests", message);
        status.set_retry_after(retry_after);
        status
    }

    /// Success: the object is gone.
    pub fn deleted(group: &str, plural: &str, name: &str, uid: &str) -> Status {
        let mut status = Status::success(200).about(group, plural, name);
        status.details.get_or_insert_default().uid = uid.to_owned();
        status
    }

    /// Success and nothing else.
    pub fn success(code: u16) -> Status {
        Status { code, ..Status::default() }
    }

    /// With details about an object.
    #[must_use]
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        let details = self.details.get_or_insert_default();
        details.group = group.to_owned();
        details.kind = kind.to_owned();
        details.name = name.to_owned();
        self
    }

    /// Adds a single problem to the details.
    pub fn add_cause(&mut self, reason: &str, message: &str, field: &str) {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
        });
    }

    /// Tells when to try again, in seconds.
    pub fn set_retry_after(&mut self, seconds: u32) {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
    }

    /// Seconds after which to try again.
    pub fn retry_after(&self) -> Option<u32> {
        self.details.as_ref().map(|d| d.retry_after_seconds).filter(|seconds| *seconds > 0)
    }

    /// Gives a token with which an expired list can go on.
    pub fn set_continue(&mut self, token: &str) {
        token.clone_into(&mut self.continue_token);
    }

    /// Whether it says that all is well.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The document as it goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if !self.continue_token.is_empty() {
            metadata.insert("continue".into(), self.continue_token.as_str().into());
        }
        let success = self.is_success();
        let mut out = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": if success { "Success" } else { "Failure" },
        });
        let map = out.as_object_mut().expect("made an object right above");
        for (key, text) in [("message", &self.message), ("reason", &self.reason)] {
            if !text.is_empty() {
                map.insert(key.into(), text.as_str().into());
            }
        }
        if let Some(details) = &self.details {
            let details = serde_json::to_value(details).expect("details are plain data");
            map.insert("details".into(), details);
        }
        // A deletion's Status carries no code in upstream's answers.
        if !(success && self.code == 200) {
            map.insert("code".into(), self.code.into());
        }
        out
    }

    /// Reads a document; `None` when it is no Status.
    pub fn from_value(value: &Value) -> Option<Status> {
        if value.get("kind")?.as_str()? != "Status" {
            return None;
        }
        let text =
            |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let details = value.get("details").cloned();
        let success = text("/status") == "Success";
        let code = value.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok());
        Some(Status {
            code: code.unwrap_or(if success { 200 } else { 500 }),
            reason: text("/reason"),
            message: text("/message"),
            details: details.and_then(|details| serde_json::from_value(details).ok()),
            continue_token: text("/metadata/continue"),
        })
    }
}

/// `pods` or `deployments.apps`; so also for kinds.
fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_stands_alone_and_several_in_brackets() {
        let one = FieldError::invalid("spec.x", 3, "must be less");
        let status = Status::invalid("apps", "Deployment", "d", vec![one.clone()]);
        let want = "Deployment.apps \"d\" is invalid: spec.x: Invalid value: 3: must be less";
        assert_eq!(status.message, want);
        let two = FieldError::required("spec.y", "");
        let status = Status::invalid("", "Pod", "", vec![one.clone(), two, one]);
        let want = "Pod \"\" is invalid: [spec.x: Invalid value: 3: must be less, spec.y: \
                    Required value]";
        assert_eq!(status.message, want);
        assert_eq!(status.details.as_ref().map(|d| d.causes.len()), Some(3));
        assert_eq!(Status::from_value(&status.to_value()), Some(status));
    }

    #[test]
    fn a_missing_object_is_named() {
        let status = Status::not_found("apps", "deployments", "none");
        let value = status.to_value();
        assert_eq!(value["message"], "deployments.apps \"none\" not found");
        let details = json!({"group": "apps", "kind": "deployments", "name": "none"});
        assert_eq!(value["details"], details);
    }
}
