//! Events of both groups. The old one takes almost anything unless it has an `eventTime`.

use serde_json::Value;

use super::super::{
    check::{Errors, Path, get, has, int, text},
    metadata,
};
use crate::meta;

/// Longest short texts.
const SHORT: usize = 128;
/// Longest note.
const NOTE: usize = 1024;

/// A new Event. The namespace must be that of what it is about.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let new_style = text(object, "apiVersion") == "events.k8s.io/v1";
    let about = if new_style { "regarding" } else { "involvedObject" };
    if has(object, "eventTime") {
        let namespace = text(get(object, "metadata"), "namespace");
        let own = text(get(object, about), "namespace");
        if own.is_empty() && !matches!(namespace, "" | "kube-system") {
            let path = Path::new("involvedObject");
            errors.invalid(&path.child("namespace"), own, "does not match event.namespace");
        }
        strict(object, new_style, errors);
        return;
    }
    involved(object, about, errors);
    if new_style {
        new_only(object, errors);
    }
}

fn involved(object: &Value, about: &str, errors: &mut Errors) {
    let about = get(object, about);
    let namespace = text(get(object, "metadata"), "namespace");
    let own = text(about, "namespace");
    let path = Path::new("involvedObject");
    let path = path.child("namespace");
    if own.is_empty() {
        if !matches!(namespace, "" | "default") {
            errors.invalid(&path, own, "does not match event.namespace");
        }
    } else if own != namespace {
        errors.invalid(&path, own, "does not match event.namespace");
    }
}

fn strict(object: &Value, new_style: bool, errors: &mut Errors) {
    described(object, new_style, errors);
    if new_style {
        new_only(object, errors);
    }
}

fn described(object: &Value, new_style: bool, errors: &mut Errors) {
    let reporter = if new_style { "reportingController" } else { "reportingComponent" };
    let controller = text(object, reporter);
    if controller.is_empty() {
        errors.required(&Path::new(reporter), "");
    }
    errors.complaints(&Path::new(reporter), controller, meta::qualified_name(controller));
    for (key, shown) in
        [("reportingInstance", "reportingInstance"), ("action", "action"), ("reason", "reason")]
    {
        let value = text(object, key);
        if value.is_empty() {
            errors.required(&Path::new(shown), "");
        }
        if value.len() > SHORT {
            let why = format!("can have at most {SHORT} characters");
            errors.invalid(&Path::new(shown), "", &why);
        }
    }
    let note = text(object, if new_style { "note" } else { "message" });
    if note.len() > NOTE {
        errors.invalid(&Path::new("message"), "", &format!("can have at most {NOTE} characters"));
    }
}

fn series(object: &Value, errors: &mut Errors) {
    let series = get(object, "series");
    if series.is_null() {
        return;
    }
    let path = Path::new("series");
    if int(series, "count").unwrap_or(0) < 2 {
        errors.invalid(&path.child("count"), "", "should be at least 2");
    }
    if !has(series, "lastObservedTime") {
        errors.required(&path.child("lastObservedTime"), "");
    }
}

/// What only the new form must have, and what it can't.
fn new_only(object: &Value, errors: &mut Errors) {
    let kind = text(object, "type");
    series(object, errors);
    if !has(object, "eventTime") {
        errors.required(&Path::new("eventTime"), "");
    }
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", &format!("has invalid value: {kind}"));
    }
    for key in [
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
        "deprecatedCount",
        "deprecatedSource",
    ] {
        let value = get(object, key);
        let set = !value.is_null()
            && value.as_i64() != Some(0)
            && value.as_object().is_none_or(|map| !map.is_empty());
        if set {
            let name = key.trim_start_matches("deprecated");
            let (first, rest) = name.split_at(1);
            let shown = format!("{}{rest}", first.to_lowercase());
            errors.invalid(&Path::new(&shown), "", "needs to be unset");
        }
    }
}

/// A changed Event: in the new form only its series may change.
pub(in crate::validation) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    if text(new, "apiVersion") != "events.k8s.io/v1" {
        return create(new, errors);
    }
    if has(new, "eventTime") {
        described(new, true, errors);
    } else {
        involved(new, "regarding", errors);
    }
    series(new, errors);
    for (key, shown) in [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        let (now, before) = (get(new, key), get(old, key));
        if now == before {
            continue;
        }
        let path = Path::new(shown);
        if key == "regarding" {
            let go = |key: &str| Value::from(text(now, key));
            let value = format!(
                "{{\"Kind\":{},\"Namespace\":{},\"Name\":{},\"UID\":{},\"APIVersion\":{},\
                 \"ResourceVersion\":{},\"FieldPath\":{}}}",
                go("kind"),
                go("namespace"),
                go("name"),
                go("uid"),
                go("apiVersion"),
                go("resourceVersion"),
                go("fieldPath")
            );
            errors.invalid_raw(&path, value, "field is immutable");
        } else {
            errors.invalid(&path, now.clone(), "field is immutable");
        }
    }
}

/// Names of Events are free in the old form.
pub(in crate::validation) fn name(name: &str, prefix: bool) -> Vec<String> {
    metadata::subdomain(name, prefix)
}
