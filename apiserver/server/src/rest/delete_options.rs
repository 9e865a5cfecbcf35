//! How a deletion is meant: grace, preconditions, what happens to dependents. From the body if there is one,
//! else from the query.

use api::status::{FieldError, Status};
use serde_json::Value;

use super::list_options::integer;
use crate::request_info::Query;

/// Decoded delete options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds to end in; `None` is the kind's default.
    pub grace: Option<i64>,
    /// Only if the object has this uid.
    pub uid: Option<String>,
    /// Only if the object is at this revision.
    pub revision: Option<String>,
    /// Deprecated form of the policy.
    pub orphan: Option<bool>,
    /// What happens to dependents.
    pub policy: Option<String>,
    /// Nothing is stored.
    pub dry_run: Vec<String>,
    /// Delete even what can't be read; refused with almost anything else.
    pub ignore_read_errors: bool,
}

impl DeleteOptions {
    /// From a decoded body.
    pub fn from_body(body: &Value) -> Result<Self, Status> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let grace = match body.get("gracePeriodSeconds") {
            None | Some(Value::Null) => None,
            Some(value) => {
                Some(value.as_i64().ok_or_else(|| mismatch("gracePeriodSeconds", value, "int64"))?)
            }
        };
        let preconditions = body.get("preconditions");
        let dry_run = body.get("dryRun").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            grace,
            uid: text(preconditions.and_then(|p| p.get("uid"))),
            revision: text(preconditions.and_then(|p| p.get("resourceVersion"))),
            orphan: body.get("orphanDependents").and_then(Value::as_bool),
            policy: text(body.get("propagationPolicy")),
            dry_run: dry_run.filter_map(Value::as_str).map(str::to_owned).collect(),
            ignore_read_errors: body
                .get("ignoreStoreReadErrorWithClusterBreakingPotential")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        })
    }

    /// From the query.
    pub fn from_query(query: &Query) -> Result<Self, Status> {
        let flag = |key: &str| query.get(key).map(|_| query.flag(key));
        let text = |key: &str| query.get(key).map(str::to_owned);
        Ok(Self {
            grace: integer(query, "gracePeriodSeconds")?,
            uid: text("uid"),
            revision: text("resourceVersion"),
            orphan: flag("orphanDependents"),
            policy: text("propagationPolicy"),
            dry_run: query.all("dryRun").map(str::to_owned).collect(),
            ignore_read_errors: flag("ignoreStoreReadErrorWithClusterBreakingPotential")
                == Some(true),
        })
    }

    /// Whether nothing is stored.
    pub fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    /// The checks between options.
    pub fn check(&self) -> Result<(), Status> {
        let mut errors = Vec::new();
        if let Some(policy) = &self.policy {
            if self.orphan.is_some() {
                let text = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid("propagationPolicy", policy.as_str(), text));
            }
            let known = ["Foreground", "Background", "Orphan", "nil"];
            if !known[..3].contains(&policy.as_str()) {
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    policy.as_str(),
                    &known,
                ));
            }
        }
        check_dry_run(&self.dry_run, &mut errors);
        self.check_unsafe(&mut errors);
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", errors))
    }

    fn check_unsafe(&self, errors: &mut Vec<FieldError>) {
        if !self.ignore_read_errors {
            return;
        }
        let at = "ignoreStoreReadErrorWithClusterBreakingPotential";
        let others = [
            (!self.dry_run.is_empty(), ".dryRun"),
            (self.policy.is_some(), ".propagationPolicy"),
            (self.orphan.is_some(), ".orphanDependents"),
            (self.grace.is_some(), ".gracePeriodSeconds"),
            (self.uid.is_some() || self.revision.is_some(), ".preconditions"),
        ];
        for (_, name) in others.into_iter().filter(|(set, _)| *set) {
            let text = format!("cannot be set together with {name}");
            errors.push(FieldError::invalid(at, true, &text));
        }
    }
}

/// `dryRun` may only be `All`.
pub fn check_dry_run(values: &[String], errors: &mut Vec<FieldError>) {
    if values.iter().any(|value| value != "All") {
        errors.push(FieldError::not_supported("dryRun", Value::from(values), &["All"]));
    }
}

fn mismatch(field: &str, value: &Value, wanted: &str) -> Status {
    let what = match value {
        Value::Number(number) => format!("number {number}"),
        Value::String(_) => "string".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Array(_) => "array".to_owned(),
        _ => "object".to_owned(),
    };
    Status::bad_request(&format!(
        "json: cannot unmarshal {what} into Go struct field DeleteOptions.{field} of type {wanted}"
    ))
}
