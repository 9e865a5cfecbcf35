//! Label selectors within objects.

use serde_json::Value;

use super::{
    check::{Errors, Path, get, list, shown, text, texts},
    metadata,
};
use crate::{meta, selector::Labels};

/// The type of a selector, for showing it.
const TYPE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector";

/// How strict a selector is checked.
#[derive(Clone, Copy, Default)]
pub(super) struct Strictness {
    /// Values of `In` and `NotIn` need not be good label values.
    pub(super) any_value: bool,
}

/// A `LabelSelector` at a path; null is none.
pub(super) fn label_selector(
    selector: &Value,
    path: &Path<'_>,
    strictness: Strictness,
    errors: &mut Errors,
) {
    if selector.is_null() {
        return;
    }
    metadata::labels(selector, "matchLabels", path, errors);
    let path = path.child("matchExpressions");
    for (at, rule) in list(selector, "matchExpressions").iter().enumerate() {
        requirement(rule, &path.index(at), strictness, errors);
    }
}

fn requirement(rule: &Value, path: &Path<'_>, strictness: Strictness, errors: &mut Errors) {
    let values = list(rule, "values");
    match text(rule, "operator") {
        "In" | "NotIn" => {
            if values.is_empty() {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(&path.child("values"), why);
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&path.child("values"), why);
            }
        }
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    let key = text(rule, "key");
    errors.complaints(&path.child("key"), key, meta::label_key(key));
    if strictness.any_value {
        return;
    }
    let path = path.child("values");
    for (at, value) in texts(rule, "values").enumerate() {
        errors.complaints(&path.index(at), value, meta::label_value(value));
    }
}

/// The selector of a workload and the labels of its template: there, not empty, matching.
pub(super) fn workload(spec: &Value, path: &Path<'_>, noun: &str, errors: &mut Errors) {
    let selector = get(spec, "selector");
    let at = path.child("selector");
    if selector.is_null() {
        errors.required(&at, "");
        return;
    }
    label_selector(selector, &at, Strictness::default(), errors);
    let empty = list(selector, "matchExpressions").is_empty()
        && get(selector, "matchLabels").as_object().is_none_or(serde_json::Map::is_empty);
    if empty {
        let why = format!("empty selector is invalid for {noun}");
        errors.invalid_raw(&at, shown_selector(selector), &why);
    }
}

/// The template's labels must be selected, or the workload would never see its pods.
pub(super) fn template_labels(
    spec: &Value,
    template: &Value,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let labels = template.pointer("/metadata/labels");
    let selected = Labels::from_selector(get(spec, "selector"));
    let Ok(selector) = selected else { return };
    if selector.is_empty() || selector.matches_value(labels) {
        return;
    }
    let metadata = path.child("metadata");
    let why = "`selector` does not match template `labels`";
    errors.invalid(&metadata.child("labels"), labels.cloned().unwrap_or_default(), why);
}

/// A selector as Go shows it.
pub(super) fn shown_selector(selector: &Value) -> String {
    shown(TYPE, selector)
}
