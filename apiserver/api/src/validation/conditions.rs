//! Conditions in the common form: a type once, a status, a reason that programs can read.

use serde_json::Value;

use super::check::{Errors, Path, int, text};
use crate::meta;

/// All conditions of a status.
pub(super) fn conditions(all: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let path = path.index(at);
        let kind = text(one, "type");
        if kind.is_empty() {
            errors.required(&path.child("type"), "is required");
        } else {
            errors.complaints(&path.child("type"), kind, meta::qualified_name(kind));
        }
        errors.one_of(&path.child("status"), text(one, "status"), &["False", "True", "Unknown"]);
        errors.not_negative(&path.child("observedGeneration"), int(one, "observedGeneration"));
        if text(one, "lastTransitionTime").is_empty() {
            errors.required(&path.child("lastTransitionTime"), "");
        }
        let reason = text(one, "reason");
        if reason.is_empty() {
            errors.required(&path.child("reason"), "must not be empty");
        } else if !is_reason(reason) {
            let why = "a condition reason must start with alphabetic character, optionally \
                       followed by a string of alphanumeric characters or '_,:', and must end with \
                       an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or \
                       'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for \
                       validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
            errors.invalid(&path.child("reason"), reason, why);
        }
        if text(one, "message").len() > 32 * 1024 {
            errors.too_long(&path.child("message"), 32 * 1024);
        }
        if seen.contains(&kind) {
            errors.duplicate(&path, kind);
        }
        seen.push(kind);
    }
}

fn is_reason(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|b| word(*b))
        && bytes.iter().all(|b| word(*b) || matches!(b, b',' | b':'))
}
