//! Affinity to nodes and to pods.

use serde_json::Value;

use super::{
    super::super::{
        check::{Errors, Path, get, int, list, text, texts},
        selectors::{Strictness, label_selector},
    },
    scheduling::{node_selector_term, node_selector_terms},
};
use crate::meta;

/// Key of a list of requirements.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// Key of a list of preferences.
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A pod's affinity.
pub(super) fn affinity(affinity: &Value, own: usize, path: &Path<'_>, errors: &mut Errors) {
    node(get(affinity, "nodeAffinity"), &path.child("nodeAffinity"), errors);
    for key in ["podAffinity", "podAntiAffinity"] {
        pod(get(affinity, key), own, &path.child(key), errors);
    }
}

fn node(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    let required = get(affinity, REQUIRED);
    if !required.is_null() {
        node_selector_terms(required, &path.child(REQUIRED), errors);
    }
    let path = path.child(PREFERRED);
    for (at, preference) in list(affinity, PREFERRED).iter().enumerate() {
        let path = path.index(at);
        weight(preference, &path, errors);
        node_selector_term(get(preference, "preference"), &path.child("preference"), errors);
    }
}

fn weight(preference: &Value, path: &Path<'_>, errors: &mut Errors) {
    let weight = int(preference, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn pod(affinity: &Value, own: usize, path: &Path<'_>, errors: &mut Errors) {
    let required = path.child(REQUIRED);
    for (at, term) in list(affinity, REQUIRED).iter().enumerate() {
        self::term(term, own, &required.index(at), errors);
    }
    let preferred = path.child(PREFERRED);
    for (at, preference) in list(affinity, PREFERRED).iter().enumerate() {
        let path = preferred.index(at);
        weight(preference, &path, errors);
        self::term(get(preference, "podAffinityTerm"), own, &path.child("podAffinityTerm"), errors);
    }
}

fn term(term: &Value, own: usize, path: &Path<'_>, errors: &mut Errors) {
    for key in ["labelSelector", "namespaceSelector"] {
        label_selector(get(term, key), &path.child(key), Strictness::default(), errors);
    }
    for name in texts(term, "namespaces") {
        errors.complaints(&path.child("namespace"), name, meta::dns1123_label(name));
    }
    match_keys(term, own, path, errors);
    let key = text(term, "topologyKey");
    let at = path.child("topologyKey");
    if key.is_empty() {
        errors.required(&at, "can not be empty");
    }
    errors.complaints(&at, key, meta::label_key(key));
}

fn match_keys(term: &Value, own: usize, path: &Path<'_>, errors: &mut Errors) {
    let selector = get(term, "labelSelector");
    for key in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(term, key, selector, path, errors);
    }
    in_both(term, selector, own, path, errors);
    let other: Vec<&str> = texts(term, "mismatchLabelKeys").collect();
    let path = path.child("matchLabelKeys");
    for (at, key) in texts(term, "matchLabelKeys").enumerate() {
        if other.contains(&key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.invalid(&path.index(at), key, why);
        }
    }
}

/// Keys whose values are taken from the pod's own labels.
pub(super) fn label_keys(
    holder: &Value,
    field: &str,
    selector: &Value,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let under = path.child(field);
    if list(holder, field).is_empty() {
        return;
    }
    if selector.is_null() {
        errors.forbidden(&under, "must not be specified when labelSelector is not set");
    }
    for (at, key) in texts(holder, field).enumerate() {
        errors.complaints(&under.index(at), key, meta::label_key(key));
    }
}

/// Keys must not be in the selector too. `own` conditions a key are there because the server has
/// put them there when the pod was made.
pub(super) fn in_both(
    holder: &Value,
    selector: &Value,
    own: usize,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    for (at, key) in texts(holder, "matchLabelKeys").enumerate() {
        let listed = get(selector, "matchLabels").get(key).is_some();
        let rules = list(selector, "matchExpressions").iter();
        if listed || rules.filter(|rule| text(rule, "key") == key).count() > own {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(&path.index(at), key, why);
        }
    }
}
