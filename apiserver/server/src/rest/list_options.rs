//! The query parameters of lists, watches and collection deletes, with the checks between them.

use api::selector::{Fields, Labels};
use api::status::{FieldError, Status};

use crate::request_info::{Query, RequestInfo};

/// What a list must be as old as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Match {
    /// Nothing was said.
    #[default]
    Unset,
    /// Exactly the given revision.
    Exact,
    /// The given revision or a later one.
    NotOlderThan,
}

/// Decoded list options.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Wanted labels; `None` is all.
    pub labels: Option<Labels>,
    /// Wanted fields; `None` is all.
    pub fields: Option<Fields>,
    /// At most so many; 0 is all.
    pub limit: usize,
    /// Where an earlier page ended.
    pub continue_token: String,
    /// The revision text, unchecked.
    pub revision: String,
    /// How the revision is meant.
    pub revision_match: Match,
    /// How long a watch may last, or a list may take.
    pub timeout_seconds: Option<u64>,
    /// Whether bookmarks are welcome.
    pub bookmarks: bool,
    /// Whether a watch begins with what exists.
    pub initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and checks the parameters of a list or watch.
    pub fn parse(info: &RequestInfo, watch: bool) -> Result<Self, Status> {
        let query = &info.query;
        let mut options = Self {
            labels: labels(query)?,
            fields: fields(info)?,
            limit: integer(query, "limit")?.unwrap_or(0).try_into().unwrap_or(0),
            continue_token: query.text("continue").to_owned(),
            revision: query.text("resourceVersion").to_owned(),
            revision_match: Match::Unset,
            timeout_seconds: integer(query, "timeoutSeconds")?.and_then(|n| n.try_into().ok()),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        let mut wanted = query.text("resourceVersionMatch");
        let from_now = matches!(options.revision.as_str(), "" | "0");
        if watch && from_now && wanted.is_empty() && options.initial_events.is_none() {
            options.initial_events = Some(true);
            wanted = "NotOlderThan";
        }
        let errors = if watch { options.check_watch(wanted) } else { options.check_list(wanted) };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", errors));
        }
        options.revision_match = match wanted {
            "Exact" => Match::Exact,
            "NotOlderThan" => Match::NotOlderThan,
            _ => Match::Unset,
        };
        Ok(options)
    }

    fn check_list(&self, wanted: &str) -> Vec<FieldError> {
        let at = "resourceVersionMatch";
        let mut errors = Vec::new();
        if !wanted.is_empty() {
            if self.revision.is_empty() {
                let text = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(at, text));
            }
            if !self.continue_token.is_empty() {
                let text = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(at, text));
            }
            if !matches!(wanted, "Exact" | "NotOlderThan") {
                let known = ["Exact", "NotOlderThan", ""];
                errors.push(FieldError::not_supported(at, wanted, &known));
            }
            if wanted == "Exact" && self.revision == "0" {
                let text = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(at, text));
            }
        }
        if self.initial_events.is_some() {
            let text = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden("sendInitialEvents", text));
        }
        errors
    }

    fn check_watch(&self, wanted: &str) -> Vec<FieldError> {
        let at = "resourceVersionMatch";
        let mut errors = Vec::new();
        if self.initial_events.is_some() && wanted != "NotOlderThan" {
            let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(at, text));
        }
        if !wanted.is_empty() {
            if self.initial_events.is_none() {
                let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                            provided";
                errors.push(FieldError::forbidden(at, text));
            }
            if wanted != "NotOlderThan" {
                errors.push(FieldError::not_supported(at, wanted, &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                let text = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(at, text));
            }
        }
        errors
    }

    /// Whether anything narrows the list.
    pub fn selective(&self) -> bool {
        self.labels.is_some() || self.fields.is_some()
    }
}

fn labels(query: &Query) -> Result<Option<Labels>, Status> {
    let text = query.text("labelSelector");
    if text.trim().is_empty() {
        return Ok(None);
    }
    Labels::parse(text).map(Some).map_err(|error| Status::bad_request(&error.to_string()))
}

fn fields(info: &RequestInfo) -> Result<Option<Fields>, Status> {
    let text = info.query.text("fieldSelector");
    let parse = |text: &str| {
        Fields::parse(text).map(Some).map_err(|error| Status::bad_request(&error.to_string()))
    };
    if text.trim().is_empty() {
        // An old path, `watch/…/name`, names the object itself.
        let named = !info.name.is_empty();
        return Ok(named.then(|| Fields::equal("metadata.name", &info.name)));
    }
    let fields = parse(text)?;
    let other =
        fields.as_ref().is_some_and(|fields| fields.exact("metadata.name") != Some(&info.name));
    if !info.name.is_empty() && other {
        let text = "fieldSelector metadata.name doesn't match requested name";
        return Err(Status::bad_request(text));
    }
    Ok(fields)
}

/// An integer parameter; empty and garbage are errors with the words of the original.
pub fn integer(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    let Some(text) = query.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let text = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
        Status::bad_request(&text)
    })
}

/// A revision that a request names; empty is 0. The error is the text alone, because its code differs by verb.
pub fn revision(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(revision) if digits => Ok(i64::try_from(revision).unwrap_or(i64::MAX)),
        _ => {
            let why = if digits { "value out of range" } else { "invalid syntax" };
            Err(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}"
            ))
        }
    }
}
